//! Batches in which there is little or nothing to learn from.

#![allow(clippy::unwrap_used)]

use backbone::{Position, VitConfig, VitPreset, WindowConfig};
use data::{Instance, InstanceMask, RgbImage};
use deepmim_detection::{DetectionError, Detector, DetectorConfig, Sampling, Target};
use tch::{Device, Kind, Tensor, nn};

fn detector(cascade: bool) -> (nn::VarStore, Detector) {
    tch::manual_seed(7);
    let trunk = VitConfig {
        width: 16,
        depth: 1,
        heads: 2,
        position: Position::Learnable,
        final_norm: false,
        windows: Some(WindowConfig {
            size: 3,
            global_blocks: vec![],
            pretrain_image_size: 32,
        }),
        ..VitConfig::preset(VitPreset::Tiny, 64, 16)
    };
    let mut config = DetectorConfig::new(trunk, 3);
    config.cascade = cascade;
    config.channels = 8;
    config.roi.box_width = 8;
    let store = nn::VarStore::new(Device::Cpu);
    let detector = Detector::new(&store.root(), &config).unwrap();
    (store, detector)
}

fn object(class: usize, mask: bool) -> Instance {
    let outline = vec![10.0, 10.0, 40.0, 12.0, 30.0, 50.0];
    Instance {
        bounds: [10.0, 10.0, 40.0, 50.0],
        class,
        mask: mask.then(|| InstanceMask::Polygons(vec![outline])),
    }
}

fn losses(
    detector: &Detector,
    objects: [&[Instance]; 2],
) -> Result<Vec<(String, Tensor)>, DetectionError> {
    let picture = RgbImage::filled(64, 48, [90, 120, 60]);
    let images = detector
        .batch(&[("a", &picture), ("b", &picture)], Device::Cpu)
        .unwrap();
    let targets = objects.map(|objects| Target {
        name: "a.jpg",
        objects,
        size: (48, 64),
    });
    detector.losses(&images, &targets, Sampling::Seeded(3), true)
}

#[test]
fn a_batch_without_objects_has_finite_losses_and_reaches_every_parameter() {
    let one = [object(1, true)];
    for cascade in [false, true] {
        for objects in [[&[][..], &[][..]], [&one[..], &[][..]]] {
            let (store, detector) = detector(cascade);
            let losses = losses(&detector, objects).unwrap();
            let total: Tensor = losses.iter().map(|(_, loss)| loss).sum();
            assert!(total.double_value(&[]).is_finite());
            total.backward();
            for (name, variable) in store.variables() {
                let gradient = variable.grad();
                assert!(gradient.defined(), "{name}");
                assert!(
                    gradient.sum(Kind::Double).double_value(&[]).is_finite(),
                    "{name}"
                );
            }
        }
    }
}

#[test]
fn the_same_seed_samples_the_same_regions() {
    let (_store, detector) = detector(false);
    let one = [object(1, true)];
    let values = || -> Vec<f64> {
        losses(&detector, [&one, &[]])
            .unwrap()
            .iter()
            .map(|(_, loss)| loss.double_value(&[]))
            .collect()
    };
    assert_eq!(values(), values());
}

#[test]
fn what_cannot_be_learnt_from_is_one_sentence() {
    let (_store, detector) = detector(false);
    let sentence =
        |objects: &[Instance]| losses(&detector, [objects, &[]]).unwrap_err().to_string();
    let beyond = sentence(&[object(3, true)]);
    assert!(
        beyond.contains("a.jpg") && beyond.contains("model.classes"),
        "{beyond}"
    );
    let bare = sentence(&[object(0, false)]);
    assert!(
        bare.contains("a.jpg") && bare.contains("model.masks = false"),
        "{bare}"
    );
    let large = RgbImage::filled(65, 10, [0; 3]);
    let error = detector
        .batch(&[("big.jpg", &large)], Device::Cpu)
        .unwrap_err();
    assert!(error.to_string().contains("big.jpg"), "{error}");
}

//! Parity of whole detectors with detectron2's ViTDet Mask R-CNN and Cascade Mask R-CNN.
//!
//! Fixtures `vitdet` and `cascade_vitdet`, recorded from the reference in float32. They hold photographs
//! and are read from the folder that `DEEPMIM_GOLDEN` names. Tolerances are about ten times the
//! difference between float32 and float64 that their READMEs record, relative to the largest value.

#![allow(
    clippy::unwrap_used,
    reason = "a test ends where a fixture is not as described"
)]

mod fixture;

use data::InstanceMask;
use deepmim_detection::boxes::{BoxF, to_boxes};
use deepmim_detection::inference::rescale_to_original;
use deepmim_detection::mask_targets::mask_targets;
use deepmim_detection::paste::paste_mask;
use deepmim_detection::sampling::Order;
use deepmim_detection::{MASK_SIZE, PictureDetections, Sampling, Target};
use tch::{Device, Kind, Tensor};

use fixture::{Fixture, assert_near, assert_same_rows, boxes_tensor, every, json, tensors};

/// Maps, logits and deltas before ROIAlign.
const MAP_TOLERANCE: f64 = 1.5e-5;
/// Boxes, and everything behind pooling that carries their rounding.
const REGION_TOLERANCE: f64 = 1e-4;
/// Masks of the cascade: three times refined boxes.
const MASK_TOLERANCE: f64 = 7e-4;
/// The five losses.
const LOSS_TOLERANCE: f64 = 2e-6;
/// Gradients: a few activations behind ROIAlign flip between precisions.
const GRADIENT_TOLERANCE: f64 = 1e-2;
/// Boxes of rows that are compared as sets, in pixels.
const ROW_TOLERANCE: f64 = 2e-3;
/// Agreement of pasted masks.
const MASK_IOU: f64 = 0.999;

/// Detections at one threshold, pasted masks included.
fn check_detections(fixture: &Fixture, index: usize, threshold: &str, found: &PictureDetections) {
    let at = |name: &str| format!("image{index}/thr{threshold}/{name}");
    let detections = &found.detections;
    let near = |name: &str, got: &Tensor| fixture.near(&at(name), got, REGION_TOLERANCE);
    near("net_boxes", &boxes_tensor(&detections.boxes));
    near("scores", &Tensor::from_slice(&detections.scores));
    let classes: Vec<i64> = detections.classes.iter().map(|c| *c as i64).collect();
    assert_eq!(
        Vec::<i64>::try_from(&fixture.outputs[&at("classes")]).unwrap(),
        classes
    );
    if threshold != "0" {
        return;
    }
    let cells = MASK_SIZE * MASK_SIZE;
    let masks = found.masks.as_ref().unwrap();
    let first = Tensor::from_slice(&masks[..12 * cells]).view([12, 28, 28]);
    let wanted = fixture.outputs[&at("mask_logits_first12")].sigmoid();
    assert_near("masks", &first, &wanted, MASK_TOLERANCE);

    let picture = fixture.picture(index);
    let rles = &json(&fixture.folder.join("masks_rle.json"))[format!("image{index}")]["thr0"];
    let side = |axis: usize| rles[0]["size"][axis].as_u64().unwrap() as usize;
    let (height, width) = (side(0), side(1));
    let network = (picture.height, picture.width);
    let (rescaled, kept) = rescale_to_original(detections, network, (height, width));
    near("boxes", &boxes_tensor(&rescaled.boxes));
    for (row, rle) in rles.as_array().unwrap().iter().enumerate() {
        let numbers = &masks[kept[row] * cells..(kept[row] + 1) * cells];
        let pasted = paste_mask(numbers, MASK_SIZE, rescaled.boxes[row], height, width, 0.5);
        let text = rle["counts"].as_str().unwrap();
        let wanted = eval::Rle::from_string(height as u32, width as u32, text.as_bytes()).unwrap();
        let iou = eval::mask_iou(&pasted.to_rle().unwrap(), &wanted, false);
        assert!(iou >= MASK_IOU, "picture {index}, mask {row}: {iou}");
    }
}

#[test]
fn every_stage_of_inference_equals_the_reference() {
    let _no_grad = tch::no_grad_guard();
    for name in ["vitdet", "cascade_vitdet"] {
        let Some(fixture) = Fixture::open(name) else {
            return;
        };
        let config = fixture.detector_config();
        let (_store, detector) = fixture.detector(&config);
        for index in 0..2 {
            let at = |name: &str| format!("image{index}/{name}");
            // Not every fixture holds every tensor.
            let near = |name: &str, got: &Tensor, tolerance| {
                let recorded = fixture.outputs.contains_key(&at(name));
                if recorded {
                    fixture.near(&at(name), got, tolerance);
                }
                recorded
            };
            let picture = fixture.picture(index);
            let sizes = [(picture.height, picture.width)];
            let images = detector
                .batch(&[("picture", &picture)], Device::Cpu)
                .unwrap();
            near("preprocessed_every_4th", &every(&images.get(0), 4), 1e-6);
            let trunk = detector.trunk().feature_map(&images, false).get(0);
            assert!(near("trunk", &trunk, MAP_TOLERANCE));
            let levels = detector.levels(&images, false);
            for (number, level) in (2..).zip(&levels) {
                let map = level.map.get(0);
                near(
                    &format!("p{number}_every_2nd"),
                    &every(&map, 2),
                    MAP_TOLERANCE,
                );
                let whole = near(&format!("p{number}"), &map, MAP_TOLERANCE);
                assert!(whole || number == 2);
            }
            let output = detector.rpn().forward(&levels);
            let outputs = output.objectness.iter().zip(&output.deltas);
            for (number, (objectness, deltas)) in (2..).zip(outputs) {
                let objectness_name = format!("rpn_objectness_p{number}");
                let recorded = near(&objectness_name, &objectness.get(0), MAP_TOLERANCE);
                assert!(recorded || config.cascade);
                let deltas = deltas.get(0);
                let name = format!("rpn_deltas_p{number}");
                near(&name, &deltas, MAP_TOLERANCE);
                near(
                    &format!("{name}_every_2nd"),
                    &every(&deltas, 2),
                    MAP_TOLERANCE,
                );
            }
            let anchors = detector.rpn().anchors(&levels);
            let found = detector
                .rpn()
                .proposals(&output, &anchors, &sizes, false)
                .remove(0);
            assert!(near(
                "proposal_boxes",
                &boxes_tensor(&found.boxes),
                MAP_TOLERANCE
            ));
            let logits = Tensor::from_slice(&found.logits);
            assert!(near("proposal_logits", &logits, MAP_TOLERANCE));
            let proposals = [found.boxes];
            let stages = detector.heads().stages(&levels, &proposals, &sizes);
            for (number, stage) in stages.iter().enumerate() {
                let prefix = match config.cascade {
                    true => format!("stage{number}"),
                    false => "box".to_owned(),
                };
                let check = |name: &str, got: &Tensor| {
                    assert!(near(&format!("{prefix}_{name}"), got, REGION_TOLERANCE));
                };
                check("scores", &stage.output.scores);
                check("deltas", &stage.output.deltas);
                match config.cascade {
                    true => check("boxes", &stage.boxes),
                    false => {
                        check("decoded", &stage.boxes);
                        check("probs", &stage.output.scores.softmax(-1, Kind::Float));
                    }
                }
            }
            assert_eq!(stages.len(), if config.cascade { 3 } else { 1 });
            for (text, threshold) in [("0", 0.0), ("0.05", 0.05)] {
                let heads = detector.heads();
                let found = heads.detect(&levels, &proposals, &sizes, threshold);
                let found = detector.with_masks(&levels, found).remove(0);
                check_detections(&fixture, index, text, &found);
            }
        }
    }
}

#[test]
fn targets_losses_and_gradients_equal_the_reference() {
    let Some(fixture) = Fixture::open("vitdet") else {
        return;
    };
    let config = fixture.detector_config();
    let (store, detector) = fixture.detector(&config);
    let wanted = tensors(&fixture.folder.join("train_outputs.safetensors"));
    let pictures = [fixture.picture(0), fixture.picture(1)];
    let objects = [fixture.objects(0), fixture.objects(1)];
    let images = detector
        .batch(&[("0", &pictures[0]), ("1", &pictures[1])], Device::Cpu)
        .unwrap();
    let targets = [0, 1].map(|index| Target {
        name: "picture",
        objects: &objects[index],
        size: (pictures[index].height, pictures[index].width),
    });

    let levels = tch::no_grad(|| detector.levels(&images, true));
    let output = tch::no_grad(|| detector.rpn().forward(&levels));
    let anchors = detector.rpn().anchors(&levels);
    let all: Vec<BoxF> = anchors.concat();
    let sizes = targets.map(|target| target.size);
    let proposals = detector.rpn().proposals(&output, &anchors, &sizes, true);
    for (index, objects) in objects.iter().enumerate() {
        let at = |name: &str| &wanted[&format!("image{index}/{name}")];
        let found = detector.rpn().targets(&all, objects, &Order::InOrder);
        let labels: Vec<i64> = found.labels.iter().map(|l| i64::from(*l)).collect();
        let recorded = at("anchor_labels").to_kind(Kind::Int64);
        assert_eq!(Vec::<i64>::try_from(recorded).unwrap(), labels);
        let matched: Vec<BoxF> = (0..labels.len())
            .filter(|anchor| labels[*anchor] == 1)
            .map(|anchor| objects[found.matched[anchor] as usize].bounds)
            .collect();
        assert_eq!(
            to_boxes(at("matched_gt_boxes_of_positive_anchors")),
            matched
        );

        let rows = |boxes: &[BoxF], last: &[f64]| -> Vec<Vec<f64>> {
            let row = |(of, last): (&BoxF, &f64)| [&of.map(f64::from)[..], &[*last]].concat();
            boxes.iter().zip(last).map(row).collect()
        };
        let wide = |logits: &[f32]| -> Vec<f64> { logits.iter().map(|l| f64::from(*l)).collect() };
        let logits = Vec::<f32>::try_from(at("rpn_proposal_logits")).unwrap();
        assert_same_rows(
            "proposals",
            &rows(&proposals[index].boxes, &wide(&proposals[index].logits)),
            &rows(&to_boxes(at("rpn_proposal_boxes")), &wide(&logits)),
            ROW_TOLERANCE,
        );
        let sampled = detector
            .heads()
            .sample(&proposals[index], objects, &Order::InOrder);
        let classes = Vec::<i64>::try_from(at("roi_classes")).unwrap();
        let number = |classes: &[i64]| -> Vec<f64> { classes.iter().map(|c| *c as f64).collect() };
        assert_same_rows(
            "regions",
            &rows(&sampled.boxes, &number(&sampled.classes)),
            &rows(&to_boxes(at("roi_boxes")), &number(&classes)),
            ROW_TOLERANCE,
        );
        // From the recorded regions, so that the order of near ties plays no part.
        let boxes = to_boxes(at("roi_boxes"));
        let owners = to_boxes(at("roi_matched_gt_boxes"));
        let positive = || (0..classes.len()).filter(|row| classes[*row] < config.classes as i64);
        let owner = |row: usize| objects.iter().find(|o| o.bounds == owners[row]).unwrap();
        let masks: Vec<&InstanceMask> = positive()
            .map(|row| owner(row).mask.as_ref().unwrap())
            .collect();
        let regions: Vec<BoxF> = positive().map(|row| boxes[row]).collect();
        let made = mask_targets(&masks, &regions, MASK_SIZE).unwrap();
        assert_eq!(
            Vec::<u8>::try_from(at("mask_targets").flatten(0, -1)).unwrap(),
            made
        );
    }

    let losses = detector
        .losses(&images, &targets, Sampling::InOrder, true)
        .unwrap();
    let mut total = Tensor::zeros([], (Kind::Float, Device::Cpu));
    for (name, loss) in &losses {
        assert_near(name, loss, &wanted[&format!("loss/{name}")], LOSS_TOLERANCE);
        total += loss;
    }
    assert_eq!(losses.len(), 5);
    assert_near("total", &total, &wanted["loss/total"], LOSS_TOLERANCE);
    total.backward();
    let variables = store.variables();
    let mut compared = 0;
    for (name, want) in &wanted {
        if let Some(parameter) = name.strip_prefix("grad/") {
            assert_near(name, &variables[parameter].grad(), want, GRADIENT_TOLERANCE);
            compared += 1;
        } else if let Some(parameter) = name.strip_prefix("grad_norm/") {
            let norm = variables[parameter].grad().norm().double_value(&[]);
            let want = want.double_value(&[]);
            let gap = (norm - want).abs() / want.max(1e-3);
            assert!(gap <= GRADIENT_TOLERANCE, "{name}: {gap:e}");
            compared += 1;
        }
    }
    assert!(compared > 100, "{compared} gradients");
}

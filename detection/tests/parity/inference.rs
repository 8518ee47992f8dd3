//! Every stage of inference.

use deepmim_detection::inference::rescale_to_original;
use deepmim_detection::paste::paste_mask;
use deepmim_detection::{MASK_SIZE, PictureDetections};
use tch::{Device, Kind, Tensor};

use crate::fixture::{Fixture, assert_near, boxes_tensor, every, json};
use crate::{MAP_TOLERANCE, MASK_IOU, MASK_TOLERANCE, REGION_TOLERANCE};

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
    for fixture in Fixture::all() {
        eprintln!("{}", fixture.folder.display());
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
            let heads = detector.heads();
            let stages = heads.stages(&levels, &proposals, &sizes);
            for (number, stage) in stages.iter().enumerate() {
                let prefix = match config.cascade {
                    true => format!("stage{number}"),
                    false => "box".to_owned(),
                };
                if !config.cascade {
                    let pooled = heads.pool(&levels, &proposals);
                    near(
                        "box_roi_features_first4",
                        &pooled.narrow(0, 0, 4),
                        REGION_TOLERANCE,
                    );
                    near("box_head", &stage.features, REGION_TOLERANCE);
                }
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
                let found = heads.detect(&levels, &proposals, &sizes, threshold);
                let found = detector.with_masks(&levels, found).remove(0);
                check_detections(&fixture, index, text, &found);
            }
        }
    }
}

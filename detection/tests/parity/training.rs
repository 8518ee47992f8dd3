//! Targets, losses and gradients.

use data::InstanceMask;
use deepmim_detection::boxes::{BoxF, to_boxes};
use deepmim_detection::mask_targets::mask_targets;
use deepmim_detection::sampling::Order;
use deepmim_detection::{MASK_SIZE, Sampling, Target};
use tch::{Device, Kind, Tensor};

use crate::fixture::{Fixture, assert_near, assert_same_rows, tensors};
use crate::{GRADIENT_TOLERANCE, LOSS_TOLERANCE, ROW_TOLERANCE};

#[test]
fn targets_losses_and_gradients_equal_the_reference() {
    let mut kinds = Vec::new();
    for fixture in Fixture::all() {
        // The photographs' cascade was recorded in inference only.
        if fixture.folder.join("train_outputs.safetensors").is_file() {
            kinds.push(check_training(&fixture));
        }
    }
    assert!(kinds.contains(&1) && kinds.contains(&3), "{kinds:?}");
}

/// Compares one training step; the number of box heads.
fn check_training(fixture: &Fixture) -> usize {
    eprintln!("{}", fixture.folder.display());
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
    let stages = if config.cascade { 3 } else { 1 };
    assert_eq!(losses.len(), 3 + 2 * stages);
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
    stages
}

//! Weighted pictures against data sets in which pictures really are there several times.

use std::path::Path;

use deepmim_eval::Strictness;
use deepmim_eval::coco::{
    CocoResampler, Geometry, GroundTruth, IouType, Params, ResultsFile, match_images,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::differential::evaluate;
use crate::draw::{Drawn, draw};

/// The data set with each picture copied as often as its weight says, copies side by side.
fn copied(drawn: &Drawn, weights: &[u32]) -> (Value, Value) {
    const APART: i64 = 1000;
    let copies = |value: &Value, field: &str, numbered: bool| -> Value {
        let mut out = Vec::new();
        for item in value.as_array().unwrap() {
            let id = item[field].as_i64().unwrap();
            let place = drawn.images.iter().position(|&image| image == id).unwrap();
            for copy in 0..i64::from(weights[place]) {
                let mut item = item.clone();
                item[field] = json!(id * APART + copy);
                if numbered {
                    item["id"] = json!(out.len() + 1);
                }
                out.push(item);
            }
        }
        json!(out)
    };
    let mut truth = drawn.truth.clone();
    truth["images"] = copies(&truth["images"], "id", false);
    truth["annotations"] = copies(&truth["annotations"], "image_id", true);
    (truth, copies(&drawn.results, "image_id", false))
}

#[test]
fn a_weight_is_as_good_as_that_many_copies() {
    let mut compared = 0;
    for seed in 0..400 {
        let mut drawn = draw(seed, false);
        // Copies of pictures with equal scores would stand in another order.
        for (place, result) in drawn.results.as_array_mut().unwrap().iter_mut().enumerate() {
            let score = result["score"].as_f64().unwrap();
            result["score"] = json!(score + place as f64 * 1e-6);
        }
        let mut rng = StdRng::seed_from_u64(seed);
        let weights: Vec<u32> = drawn
            .images
            .iter()
            .map(|_| rng.random_range(0..4))
            .collect();
        if weights.iter().all(|&weight| weight == 0) {
            continue;
        }
        let found = scores(&drawn, &weights);
        let (truth, results) = copied(&drawn, &weights);
        if results.as_array().unwrap().is_empty() {
            continue;
        }
        let stats = evaluate(&truth, &results, Params::default(), IouType::Bbox)
            .summary()
            .unwrap()
            .stats();
        for (metric, (found, wanted)) in CocoResampler::METRICS.iter().zip(found.iter().zip(stats))
        {
            let wanted = if wanted == -1.0 { f64::NAN } else { wanted };
            assert!(
                (found - wanted).abs() < 1e-9 || (found.is_nan() && wanted.is_nan()),
                "seed {seed}: {metric} is {found} instead of {wanted} with {weights:?}"
            );
            compared += usize::from(wanted > 0.0);
        }
    }
    assert!(compared > 500, "only {compared} numbers above 0");
}

fn scores(drawn: &Drawn, weights: &[u32]) -> [f64; 6] {
    let name = Path::new("drawn.json");
    let bytes = |value: &Value| serde_json::to_vec(value).unwrap();
    let geometry = Geometry {
        boxes: true,
        masks: false,
    };
    let (truth, _) =
        GroundTruth::from_json(name, &bytes(&drawn.truth), geometry, Strictness::Strict).unwrap();
    let (detections, _) = ResultsFile::from_json(name, bytes(&drawn.results))
        .unwrap()
        .read(&truth, Strictness::Strict, &|_| {})
        .unwrap();
    let matches = match_images(&truth, &detections, Params::default(), IouType::Bbox).unwrap();
    let mut scores = [0.0; 6];
    matches.resampler().scores(weights, &mut scores);
    scores
}

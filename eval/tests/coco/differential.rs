//! Random data sets against hotcoco, an independent implementation that is checked against pycocotools
//! itself. (`parity/coco_differential.py` compares with pycocotools.)

use std::path::Path;

use deepmim_eval::Strictness;
use deepmim_eval::coco::{
    Curves, Geometry, GroundTruth, IouType, Params, ResultsFile, match_images,
};
use hotcoco::{COCO, COCOeval};
use serde_json::Value;

use crate::draw::draw;

pub fn evaluate(truth: &Value, results: &Value, params: Params, iou_type: IouType) -> Curves {
    let name = Path::new("drawn.json");
    let bytes = |value: &Value| serde_json::to_vec(value).unwrap();
    let geometry = Geometry {
        boxes: iou_type == IouType::Bbox,
        masks: iou_type == IouType::Segm,
    };
    let (truth, _) =
        GroundTruth::from_json(name, &bytes(truth), geometry, Strictness::Strict).unwrap();
    let (detections, _) = ResultsFile::from_json(name, bytes(results))
        .unwrap()
        .read(&truth, Strictness::Strict, &|_| {})
        .unwrap();
    match_images(&truth, &detections, params, iou_type)
        .unwrap()
        .accumulate()
}

#[test]
fn thousands_of_random_data_sets_come_out_as_hotcoco_has_them() {
    let folder = tempfile::tempdir().unwrap();
    let (truth_path, results_path) = (folder.path().join("gt.json"), folder.path().join("dt.json"));
    let mut defined = 0;
    for seed in 0..3000 {
        let masks = seed % 3 == 0;
        let drawn = draw(seed, masks);
        let params = Params {
            use_categories: seed % 7 != 0,
            max_detections: if seed % 5 == 0 {
                vec![1, 5, 100]
            } else {
                vec![1, 10, 100]
            },
            ..Params::default()
        };
        let iou_type = if masks { IouType::Segm } else { IouType::Bbox };
        let ours = evaluate(&drawn.truth, &drawn.results, params.clone(), iou_type);

        std::fs::write(&truth_path, drawn.truth.to_string()).unwrap();
        std::fs::write(&results_path, drawn.results.to_string()).unwrap();
        let truth = COCO::new(&truth_path).unwrap();
        let results = truth.load_res(&results_path).unwrap();
        let kind = if masks {
            hotcoco::params::IouType::Segm
        } else {
            hotcoco::params::IouType::Bbox
        };
        let mut theirs = COCOeval::new(truth, results, kind);
        theirs.params.max_dets = params.max_detections.clone();
        theirs.params.use_cats = params.use_categories;
        theirs.run().unwrap();
        let arrays = theirs.accumulated().unwrap();
        for (what, ours, theirs) in [
            ("precision", ours.precision_array(), &arrays.precision),
            ("recall", ours.recall_array(), &arrays.recall),
        ] {
            assert_eq!(ours.len(), theirs.len(), "seed {seed}: {what}");
            for (place, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                assert!(
                    (ours - theirs).abs() < 1e-9,
                    "seed {seed}: {what} at {place}: {ours} instead of {theirs}"
                );
            }
        }
        let stats = ours.summary().unwrap().stats();
        for (ours, theirs) in stats.iter().zip(theirs.stats().unwrap()) {
            assert!(
                (ours - theirs).abs() < 1e-9,
                "seed {seed}: {ours} instead of {theirs}"
            );
        }
        defined += usize::from(stats[0] > 0.0);
    }
    assert!(
        defined > 1000,
        "only {defined} data sets have anything to find"
    );
}

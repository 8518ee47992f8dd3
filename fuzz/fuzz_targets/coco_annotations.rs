//! Annotation files from any bytes; what is read is scored against no detections.
#![no_main]

use std::path::Path;

use deepmim_eval::Strictness;
use deepmim_eval::coco::{
    Geometry, GroundTruth, IouType, Params, ResultsFile, match_images,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (bool, bool, bool, &str)| {
    let (lenient, boxes, masks, text) = input;
    let strictness = if lenient { Strictness::Lenient } else { Strictness::Strict };
    let name = Path::new("annotations.json");
    let geometry = Geometry { boxes, masks };
    match GroundTruth::from_json(name, text.as_bytes(), geometry, strictness) {
        Err(error) => assert!(!error.to_string().contains('\n')),
        Ok((truth, skipped)) => {
            assert!(lenient || skipped.count() == 0);
            let results = ResultsFile::from_json(name, b"[]".to_vec()).expect("an empty list");
            let (detections, _) =
                results.read(&truth, strictness, &|_| {}).expect("an empty list");
            for iou_type in [IouType::Bbox, IouType::Segm] {
                if let Ok(matches) =
                    match_images(&truth, &detections, Params::default(), iou_type)
                {
                    let ap = matches.accumulate().summary().expect("three limits").ap;
                    assert!(ap == 0.0 || ap == -1.0);
                }
            }
        }
    }
});

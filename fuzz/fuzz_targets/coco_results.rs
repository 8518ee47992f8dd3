//! Results files from any bytes, on a small ground truth; what is read is scored.
#![no_main]

use std::path::Path;
use std::sync::OnceLock;

use deepmim_eval::Strictness;
use deepmim_eval::coco::{
    CalibrationOptions, ConfusionOptions, ErrorType, Geometry, GroundTruth, IouType, Params,
    ResultsFile, match_images,
};
use libfuzzer_sys::fuzz_target;

const TRUTH: &str = r#"{
  "images": [{"id": 1, "height": 10, "width": 20}, {"id": "a", "height": 8, "width": 8}],
  "categories": [{"id": 3, "name": "cat"}, {"id": 4, "name": "dog"}],
  "annotations": [
    {"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 1, 4, 4], "area": 16, "iscrowd": 0,
     "segmentation": [[1, 1, 5, 1, 5, 5, 1, 5]]},
    {"id": 2, "image_id": 1, "category_id": 3, "bbox": [0, 0, 20, 10], "area": 200, "iscrowd": 1,
     "segmentation": {"size": [10, 20], "counts": [0, 200]}},
    {"id": 0, "image_id": "a", "category_id": 4, "bbox": [2, 2, 3, 0], "area": 0, "iscrowd": 0,
     "segmentation": {"size": [8, 8], "counts": "b15300N4N4"}}
  ]
}"#;

fn truth(masks: bool) -> &'static GroundTruth {
    static BOXES: OnceLock<GroundTruth> = OnceLock::new();
    static MASKS: OnceLock<GroundTruth> = OnceLock::new();
    let cell = if masks { &MASKS } else { &BOXES };
    cell.get_or_init(|| {
        let geometry = Geometry { boxes: true, masks };
        // A mask of the wrong length is left out, which is as good a ground truth as any.
        GroundTruth::from_json(Path::new("gt.json"), TRUTH.as_bytes(), geometry, Strictness::Lenient)
            .expect("it is whole")
            .0
    })
}

fuzz_target!(|input: (bool, bool, &str)| {
    let (lenient, masks, text) = input;
    let strictness = if lenient { Strictness::Lenient } else { Strictness::Strict };
    let truth = truth(masks);
    let read = ResultsFile::from_json(Path::new("results.json"), text.into())
        .and_then(|file| file.read(truth, strictness, &|_| {}));
    match read {
        Err(error) => assert!(!error.to_string().contains('\n')),
        Ok((detections, skipped)) => {
            assert!(lenient || skipped.count() == 0);
            let iou_type = if masks { IouType::Segm } else { IouType::Bbox };
            let matches = match_images(truth, &detections, Params::default(), iou_type)
                .expect("the geometry was read");
            let mut scores = [0.0; 6];
            matches.resampler().scores(&[1, 1], &mut scores);
            let errors = matches.errors();
            let count = |kind: ErrorType| errors.of(kind).count;
            let types: u64 = ErrorType::ALL[..5].iter().map(|&kind| count(kind)).sum();
            assert_eq!(types, count(ErrorType::FalsePositive));
            assert!((0.0..=1.0).contains(&errors.ap()));
            matches.confusion(&ConfusionOptions::default()).expect("the options are good");
            matches.calibration(&CalibrationOptions::default()).expect("the options are good");
            let summary = matches.accumulate().summary().expect("three limits");
            assert!((-1.0..=1.0).contains(&summary.ap));
            assert!((summary.ap - scores[0]).abs() < 1e-9);
        }
    }
});

//! Scores one COCO result file with the `hotcoco` crate, as a whole process: the other side of
//! `benches/score_coco.py`, and a third opinion for `parity/coco_differential.py`.
//!
//! ```text
//! cargo run --release -p deepmim-eval --example hotcoco_score -- GT.json DETECTIONS.json bbox
//! ```
//!
//! Options: `--max-dets 1,10,100`, `--class-agnostic`, `--arrays FILE` (precision and recall as JSON,
//! both in the order of pycocotools' arrays). Prints hotcoco's summary and then, on the last line, the
//! twelve numbers as a JSON array with all their digits.

use std::error::Error;
use std::path::Path;

use hotcoco::params::IouType;
use hotcoco::{COCO, COCOeval};

fn main() -> Result<(), Box<dyn Error>> {
    let mut positional = Vec::new();
    let mut max_dets = None;
    let mut class_agnostic = false;
    let mut arrays = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--class-agnostic" => class_agnostic = true,
            "--max-dets" => {
                let list = arguments.next().ok_or("--max-dets needs a list")?;
                max_dets = Some(
                    list.split(',')
                        .map(str::parse)
                        .collect::<Result<Vec<usize>, _>>()?,
                );
            }
            "--arrays" => arrays = Some(arguments.next().ok_or("--arrays needs a file")?),
            _ => positional.push(argument),
        }
    }
    let [ground_truth, detections, kind] = positional.as_slice() else {
        return Err("usage: hotcoco_score GT.json DETECTIONS.json bbox|segm".into());
    };
    let kind = match kind.as_str() {
        "bbox" => IouType::Bbox,
        "segm" => IouType::Segm,
        other => return Err(format!("`{other}` is neither bbox nor segm").into()),
    };

    let ground_truth = COCO::new(Path::new(ground_truth))?;
    let detections = ground_truth.load_res(Path::new(detections))?;
    let mut evaluation = COCOeval::new(ground_truth, detections, kind);
    if let Some(max_dets) = max_dets {
        evaluation.params.max_dets = max_dets;
    }
    evaluation.params.use_cats = !class_agnostic;
    evaluation.run()?;

    if let Some(path) = arrays {
        let result = evaluation.accumulated().ok_or("nothing was accumulated")?;
        let shape = &result.shape;
        let value = serde_json::json!({
            "shape": [shape.t, shape.r, shape.k, shape.a, shape.m],
            "precision": result.precision,
            "recall": result.recall,
        });
        std::fs::write(path, serde_json::to_vec(&value)?)?;
    }
    let stats = evaluation.stats().ok_or("nothing was summarised")?;
    println!("{}", serde_json::to_string(stats)?);
    Ok(())
}

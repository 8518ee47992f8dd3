//! Error analysis of COCO detections: prints the tables and how long each took.
//!
//! ```text
//! coco_errors GT RESULTS bbox|segm [ROUNDS]
//! ```
//! Times are the best of the rounds (5 unless told), in milliseconds, reading not included.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use deepmim_eval::Strictness;
use deepmim_eval::coco::{
    CalibrationOptions, ConfusionOptions, Geometry, GroundTruth, IouType, Params, ResultsFile,
    match_images,
};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (truth, results, kind, rounds) = match arguments.as_slice() {
        [truth, results, kind] => (truth, results, kind, 5),
        [truth, results, kind, rounds] => (truth, results, kind, rounds.parse::<u32>()?.max(1)),
        _ => return Err("usage: coco_errors GT RESULTS bbox|segm [ROUNDS]".into()),
    };
    let kind = match kind.as_str() {
        "bbox" => IouType::Bbox,
        "segm" => IouType::Segm,
        _ => return Err("the kind must be bbox or segm".into()),
    };
    let geometry = Geometry {
        boxes: kind == IouType::Bbox,
        masks: kind == IouType::Segm,
    };
    let (truth, _) = GroundTruth::read(Path::new(truth), geometry, Strictness::Strict)?;
    let results = ResultsFile::open(Path::new(results))?;
    let (detections, _) = results.read(&truth, Strictness::Strict, &|_| {})?;

    let best = |run: &mut dyn FnMut() -> Result<(), Box<dyn Error>>| {
        let mut best = Duration::MAX;
        for _ in 0..rounds {
            let start = Instant::now();
            run()?;
            best = best.min(start.elapsed());
        }
        Ok::<f64, Box<dyn Error>>(best.as_secs_f64() * 1e3)
    };
    let matches = match_images(&truth, &detections, Params::default(), kind)?;
    let matching = best(&mut || {
        match_images(&truth, &detections, Params::default(), kind)?;
        Ok(())
    })?;
    let curves = matches.curves();
    let (mut errors, mut confusion, mut calibration) = (None, None, None);
    let of_errors = best(&mut || {
        errors = Some(matches.errors());
        Ok(())
    })?;
    let of_confusion = best(&mut || {
        confusion = Some(matches.confusion(&ConfusionOptions::default())?);
        Ok(())
    })?;
    let of_calibration = best(&mut || {
        calibration = Some(matches.calibration(&CalibrationOptions::default())?);
        Ok(())
    })?;
    if let (Some(errors), Some(confusion), Some(calibration)) = (errors, confusion, calibration) {
        for note in errors.notes() {
            println!("note: {note}");
        }
        println!("{errors}\n\n{}\n\n{confusion}\n", curves.size_iou());
        println!("{}\n", calibration.report());
        println!("{}\n", errors.report());
    }
    println!(
        "{} detections: matching {matching:.1} ms, errors {of_errors:.1} ms, confusion {of_confusion:.1} ms, calibration {of_calibration:.1} ms",
        detections.rows().len()
    );
    Ok(())
}

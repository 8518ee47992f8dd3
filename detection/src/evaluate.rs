//! From a results file to COCO's numbers. Source: detectron2 `evaluation/coco_evaluation.py`,
//! `COCOEvaluator`, `_evaluate_predictions_on_coco`.

use std::path::Path;

use eval::coco::{
    CocoSummary, Curves, Geometry, GroundTruth, IouType, Params, ResultsFile, match_images,
};
use eval::{EvalError, Report, Strictness};

/// Scores of one results file.
#[derive(Debug)]
pub struct CocoScores {
    /// By the overlap of boxes.
    pub boxes: Curves,
    /// By the overlap of masks, where they were asked for.
    pub masks: Option<Curves>,
    /// What users should know about the files.
    pub notes: Vec<String>,
}

/// Scores a results file against an annotation file, both as COCO has them and the first of them not
/// compressed; by boxes, and with `masks` by masks too.
///
/// For masks the results' boxes are put aside, as detectron2 does it: with them pycocotools would sort
/// the detections into small, medium and large by the areas of boxes. So APs, APm and APl of masks may
/// differ from those of the same file scored as it is; the other numbers do not.
///
/// # Errors
/// When a file cannot be read, is no such file, or holds results on unknown pictures.
pub fn evaluate_results(
    results: &Path,
    annotations: &Path,
    masks: bool,
) -> Result<CocoScores, EvalError> {
    let file = ResultsFile::open(results)?;
    let geometry = Geometry { boxes: true, masks };
    let (truth, _) = GroundTruth::read(annotations, geometry, Strictness::Strict)?;
    let mut notes = truth.notes().to_vec();
    let mut score = |file: ResultsFile, iou_type| {
        let (detections, _) = file.read(&truth, Strictness::Strict, &|_| {})?;
        for note in detections.notes() {
            if !notes.contains(note) {
                notes.push(note.clone());
            }
        }
        let matches = match_images(&truth, &detections, Params::default(), iou_type)?;
        Ok::<_, EvalError>(matches.accumulate())
    };
    let boxes = score(file, IouType::Bbox)?;
    let masks = if masks {
        Some(score(
            ResultsFile::open_without_boxes(results)?,
            IouType::Segm,
        )?)
    } else {
        None
    };
    Ok(CocoScores {
        boxes,
        masks,
        notes,
    })
}

impl CocoScores {
    /// Boxes, then masks.
    fn curves(&self) -> impl Iterator<Item = &Curves> {
        [&self.boxes].into_iter().chain(&self.masks)
    }

    /// The twelve numbers for boxes, then those for masks.
    ///
    /// # Errors
    /// None with COCO's parameters.
    pub fn summaries(&self) -> Result<Vec<CocoSummary>, EvalError> {
        self.curves().map(Curves::summary).collect()
    }

    /// The numbers as rows: "bbox/AP", …, "segm/AP", …; 0..=1, or -1 where nothing counts.
    ///
    /// # Errors
    /// None with COCO's parameters.
    pub fn report(&self) -> Result<Report, EvalError> {
        let mut report = Report::new();
        for summary in self.summaries()? {
            let prefix = format!("{}/", summary.iou_type.name());
            report.extend(&prefix, &summary.report());
        }
        Ok(report)
    }

    /// Writes `summary.csv`, `summary.json`, and for boxes and masks `bbox/per_category.csv` and
    /// `segm/per_category.csv`: objects, AP, AP50, AP75, AP by size and AR of each category.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), EvalError> {
        let report = self.report()?;
        report.write_csv(&folder.join("summary.csv"))?;
        report.write_json(&folder.join("summary.json"))?;
        for curves in self.curves() {
            let folder = folder.join(curves.iou_type().name());
            curves.write_per_category(&folder.join("per_category.csv"))?;
        }
        Ok(())
    }
}

//! AP of boxes and masks.

use std::path::Path;

use eval::coco::{
    CocoResampler, Curves, Detections, Geometry, GroundTruth, IouType, Matches, Params,
    ResultsFile, match_images,
};
use eval::{BootstrapConfig, BootstrapSize, Strictness, bootstrap};

use super::{Column, Scored, short};
use crate::board::{ClassScores, PrecisionRecall};
use crate::entry::Entry;
use crate::error::LeaderboardError;
use crate::record::Truth;

/// Metrics of one kind of overlap.
const METRICS: usize = CocoResampler::METRICS.len();

/// One entry by one kind of overlap.
struct Part {
    resampler: CocoResampler,
    curves: Curves,
}

pub(super) fn score(
    entries: &[&Entry],
    config: &BootstrapConfig,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Scored, LeaderboardError> {
    let annotations = annotation_file(entries)?;
    let kinds = entries
        .iter()
        .map(|entry| Ok(ResultsFile::open(&entry.predictions)?.kind().has_masks()))
        .collect::<Result<Vec<bool>, LeaderboardError>>()?;
    let any_masks = kinds.contains(&true);
    let geometry = Geometry {
        boxes: true,
        masks: any_masks,
    };
    let (truth, _) = GroundTruth::read(annotations, geometry, Strictness::Strict)?;
    let mut notes = truth.notes().to_vec();
    let mut boxes = Vec::with_capacity(entries.len());
    let mut masks = Vec::with_capacity(entries.len());
    for (entry, has_masks) in entries.iter().zip(&kinds) {
        let mut part = |file: ResultsFile, iou_type| {
            let (detections, _) = file.read(&truth, Strictness::Strict, &|_| {})?;
            for note in detections.notes() {
                if !notes.contains(note) {
                    notes.push(note.clone());
                }
            }
            part(&truth, &detections, iou_type)
        };
        boxes.push(part(ResultsFile::open(&entry.predictions)?, IouType::Bbox)?);
        masks.push(match has_masks {
            // As `deepmim eval` and detectron2 score masks.
            true => Some(part(
                ResultsFile::open_without_boxes(&entry.predictions)?,
                IouType::Segm,
            )?),
            false => None,
        });
    }
    let size = BootstrapSize {
        images: truth.images().len(),
        systems: entries.len(),
        metrics: METRICS * (1 + usize::from(any_masks)),
    };
    let resample = |system: usize, weights: &[u32], scores: &mut [f64]| {
        let (of_boxes, of_masks) = scores.split_at_mut(METRICS);
        boxes[system].resampler.scores(weights, of_boxes);
        if let Some(part) = &masks[system] {
            part.resampler.scores(weights, of_masks);
        }
    };
    let bootstrap =
        bootstrap(size, config, resample, progress)?.with_score_method(CocoResampler::INTERVALS);
    let categories = boxes[0].curves.categories_scores();
    let mut columns = columns("box");
    if any_masks {
        columns.extend(self::columns("mask"));
    }
    Ok(Scored {
        columns,
        bootstrap,
        classes: ClassScores {
            title: "AP-box %".to_owned(),
            names: categories
                .iter()
                .map(|scores| scores.name.clone())
                .collect(),
            support: categories.iter().map(|scores| scores.objects).collect(),
            support_of: "objects".to_owned(),
            values: boxes.iter().map(|part| category_ap(&part.curves)).collect(),
        },
        precision_recall: entries
            .iter()
            .zip(boxes.iter().zip(&masks))
            .map(|(entry, (boxes, masks))| {
                let of_masks = masks.iter().map(|part| ("masks", &part.curves));
                [("boxes", &boxes.curves)]
                    .into_iter()
                    .chain(of_masks)
                    .map(|(of, curves)| precision_recall(of, &entry.system, curves))
                    .collect()
            })
            .collect(),
        pictures: truth.images().len(),
        data: format!(
            "{} pictures, {} categories, {}",
            truth.images().len(),
            truth.categories().len(),
            short(annotations)
        ),
        notes,
    })
}

fn part(
    truth: &GroundTruth,
    detections: &Detections,
    iou_type: IouType,
) -> Result<Part, LeaderboardError> {
    let matches: Matches = match_images(truth, detections, Params::default(), iou_type)?;
    Ok(Part {
        resampler: matches.resampler(),
        curves: matches.accumulate(),
    })
}

/// The annotation file of all entries; they were grouped by its content.
fn annotation_file<'a>(entries: &[&'a Entry]) -> Result<&'a Path, LeaderboardError> {
    match entries.first().map(|entry| &entry.truth) {
        Some(Truth::Annotations { file, .. }) => Ok(file),
        _ => Err(LeaderboardError::Compare(
            "there is no annotation file to score against".into(),
        )),
    }
}

/// The resampler's metrics; a key is "box_ap", "box_ap50" and so on.
fn columns(of: &str) -> Vec<Column> {
    CocoResampler::METRICS
        .into_iter()
        .map(|metric| {
            let key = format!("{of}_{}", metric.to_lowercase());
            Column::percent(&key, &format!("{metric}-{of}"), metric == "AP")
        })
        .collect()
}

/// AP of every category in per cent, NaN where no object counts.
fn category_ap(curves: &Curves) -> Vec<f64> {
    let percent = |ap: f64| if ap < 0.0 { f64::NAN } else { 100.0 * ap };
    let scores = curves.categories_scores().into_iter();
    scores.map(|scores| percent(scores.ap)).collect()
}

/// Means over the categories that have objects, objects of any size.
fn precision_recall(of: &str, system: &str, curves: &Curves) -> PrecisionRecall {
    let params = curves.params();
    let last = params.max_detections.len() - 1;
    let counted: Vec<usize> = (0..curves.groups())
        .filter(|&category| curves.objects(category, 0) > 0)
        .collect();
    let mean = |iou: f64| -> Vec<f64> {
        let Some(threshold) = params.iou_thresholds.iter().position(|&t| t == iou) else {
            return Vec::new();
        };
        (0..params.recall_thresholds.len())
            .map(|recall| {
                let at = |&category: &usize| curves.precision(threshold, category, 0, last)[recall];
                counted.iter().map(at).sum::<f64>() / counted.len() as f64
            })
            .collect()
    };
    PrecisionRecall {
        of: of.to_owned(),
        system: system.to_owned(),
        recall: params.recall_thresholds.clone(),
        at_50: mean(0.5),
        at_75: mean(0.75),
    }
}

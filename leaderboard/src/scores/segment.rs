//! Mean IoU and what belongs to it.

use std::path::{Path, PathBuf};

use eval::BootstrapConfig;
use eval::segmentation::{
    LabelFiles, LabelSpec, SEGMENTATION_METRICS, SegmentationOptions, SegmentationResult,
    bootstrap_segmentation, evaluate_label_files,
};

use super::{Column, Scored, short};
use crate::board::ClassScores;
use crate::entry::{Entry, label_maps};
use crate::error::LeaderboardError;
use crate::record::Truth;

pub(super) fn score(
    entries: &[&Entry],
    config: &BootstrapConfig,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Scored, LeaderboardError> {
    let (folder, names, spec) = labels(entries)?;
    let options = SegmentationOptions::new(spec);
    let results = entries
        .iter()
        .map(|entry| {
            let files = pairs(folder, &entry.predictions)?;
            Ok(evaluate_label_files(folder, files, &options, &|_, _| {})?)
        })
        .collect::<Result<Vec<SegmentationResult>, LeaderboardError>>()?;
    let bootstrap = bootstrap_segmentation(&results, config, progress)?;
    let pictures = results[0].images.len();
    let names: Vec<String> = (0..options.labels.classes())
        .map(|class| {
            let known = names.get(class).cloned();
            known.unwrap_or_else(|| format!("class {class}"))
        })
        .collect();
    let data = format!(
        "{pictures} pictures, {} classes, {}",
        names.len(),
        short(folder)
    );
    Ok(Scored {
        columns: SEGMENTATION_METRICS
            .into_iter()
            .enumerate()
            .map(|(at, metric)| Column::percent(&metric.to_lowercase(), metric, at == 0))
            .collect(),
        bootstrap,
        classes: ClassScores {
            title: "IoU %".to_owned(),
            names,
            support: results[0]
                .meter
                .areas()
                .iter()
                .map(|areas| areas.labelled)
                .collect(),
            support_of: "pixels".to_owned(),
            values: results
                .iter()
                .map(|result| {
                    let classes = result.meter.scores().classes.into_iter();
                    classes.map(|scores| 100.0 * scores.iou).collect()
                })
                .collect(),
        },
        precision_recall: vec![Vec::new(); entries.len()],
        pictures,
        data,
        notes: Vec::new(),
    })
}

/// Folder, class names and numbering of the ground truth of all entries; they were grouped by its content.
fn labels<'a>(
    entries: &[&'a Entry],
) -> Result<(&'a Path, &'a [String], LabelSpec), LeaderboardError> {
    let Some(Truth::Labels {
        folder,
        classes,
        reduce_zero_label,
        ignore_index,
        ..
    }) = entries.first().map(|entry| &entry.truth)
    else {
        return Err(LeaderboardError::Compare(
            "there are no label maps to score against".into(),
        ));
    };
    let mut spec = LabelSpec::new(classes.len())?;
    spec.reduce_zero_label = *reduce_zero_label;
    spec.ignore_index = *ignore_index;
    Ok((folder, classes, spec))
}

/// Every predicted map with the ground truth of the same path.
fn pairs(truth: &Path, predictions: &Path) -> Result<Vec<LabelFiles>, LeaderboardError> {
    let pair = |map: PathBuf| LabelFiles {
        name: map.with_extension("").to_string_lossy().into_owned(),
        label: truth.join(&map),
        prediction: predictions.join(&map),
    };
    Ok(label_maps(predictions)?.into_iter().map(pair).collect())
}

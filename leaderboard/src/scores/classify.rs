//! Top-1 and what belongs to it.

use eval::{
    BootstrapConfig, ClassificationComparison, ClassificationMetric, ComparisonOptions,
    PictureLabels, PredictionSet, Strictness,
};

use super::{Column, Scored};
use crate::board::{ClassScores, Metric};
use crate::entry::Entry;
use crate::error::LeaderboardError;
use crate::record::Truth;

pub(super) fn score(
    entries: &[&Entry],
    config: &BootstrapConfig,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Scored, LeaderboardError> {
    let mut truth: Option<PictureLabels> = None;
    let mut sets = Vec::with_capacity(entries.len());
    let mut notes = Vec::new();
    let mut names: &[String] = &[];
    for entry in entries {
        if let Some(file) = &entry.labels_file
            && truth.is_none()
        {
            truth = Some(PictureLabels::read(file, None, None, Strictness::Strict)?.0);
        }
        // Pictures of unknown class have predictions and do not count.
        let (set, skipped) = PredictionSet::read(
            &entry.predictions,
            truth.as_ref(),
            None,
            Strictness::Lenient,
        )?;
        if let Some(first) = skipped.first() {
            notes.push(format!(
                "{}: {} predictions do not count; the first: {first}",
                entry.system,
                skipped.count()
            ));
        }
        truth.get_or_insert_with(|| set.labels());
        sets.push(set);
        if let Truth::Classes { classes, .. } = &entry.truth
            && names.is_empty()
        {
            names = classes;
        }
    }
    let Some(truth) = truth else {
        return Err(LeaderboardError::Compare(
            "there is nothing to compare".into(),
        ));
    };
    let options = ComparisonOptions {
        classes: Some(names.len()).filter(|classes| *classes > 0),
        ..ComparisonOptions::default()
    };
    let scored = ClassificationComparison::new(&truth, sets, &options)?;
    let bootstrap = scored.bootstrap(config, progress)?;
    let class_count = scored.classes;
    let names: Vec<String> = (0..class_count)
        .map(|class| {
            let known = names.get(class).cloned();
            known.unwrap_or_else(|| format!("class {class}"))
        })
        .collect();
    let tallies = |at: usize| scored.systems[at].meter.classes();
    Ok(Scored {
        columns: columns(),
        bootstrap,
        classes: ClassScores {
            title: "top-1 %".to_owned(),
            names,
            support: tallies(0).iter().map(|tally| tally.count).collect(),
            support_of: "pictures".to_owned(),
            values: (0..entries.len())
                .map(|at| {
                    let share = |hits: u64, count: u64| 100.0 * hits as f64 / count as f64;
                    let tallies = tallies(at).iter();
                    tallies
                        .map(|tally| share(tally.top1, tally.count))
                        .collect()
                })
                .collect(),
        },
        precision_recall: vec![Vec::new(); entries.len()],
        pictures: scored.pictures,
        data: format!("{} pictures, {class_count} classes", scored.pictures),
        notes,
    })
}

/// One per metric of the bootstrap.
fn columns() -> Vec<Column> {
    ClassificationMetric::ALL
        .into_iter()
        .map(|metric| match metric {
            ClassificationMetric::Top1 => Column::percent("top1", "top-1", true),
            ClassificationMetric::Top5 => Column::percent("top5", "top-5", false),
            ClassificationMetric::Real => Column::percent("real", "ReaL", false),
            ClassificationMetric::Loss => lower("loss", "loss", 1.0, 3),
            ClassificationMetric::CalibrationError => {
                lower("calibration_error", "calibration error %", 100.0, 1)
            }
        })
        .collect()
}

fn lower(key: &str, title: &str, factor: f64, decimals: usize) -> Column {
    Column {
        metric: Metric {
            key: key.to_owned(),
            title: title.to_owned(),
            decimals,
            headline: false,
            higher_is_better: false,
        },
        factor,
    }
}

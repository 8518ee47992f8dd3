//! `deepmim score imagenet`.

use std::path::Path;

use deepmim_cli::{ScoreImagenetArgs, print_json, print_text};
use eval::{
    BootstrapConfig, ClassList, ClassificationComparison, ClassificationMetric, ComparisonOptions,
    PictureLabels, PredictionSet, RealLabels, ScoredSet,
};
use serde_json::{Map, Value, json};

use super::comparison::{Column, Comparison};
use super::names::{distinct_names, result_folders};
use super::{bar, set_threads, strictness, tell_skipped};

/// Pairs of confused classes that are told.
const CONFUSIONS: usize = 5;

/// Scores and compares files of predictions.
pub fn run(args: &ScoreImagenetArgs) -> anyhow::Result<()> {
    set_threads(args.threads)?;
    let classes = args
        .class_names
        .as_deref()
        .map(ClassList::read)
        .transpose()?;
    let scored = read(args, classes.as_ref())?;
    let config = BootstrapConfig {
        resamples: args.resamples,
        seed: args.seed,
        ..BootstrapConfig::default()
    };
    let bar = bar(
        "resampling {bar:30} {pos}/{len}, {eta} left",
        config.resamples as u64,
    );
    let bootstrap = scored.bootstrap(&config, &|done, _| bar.set_position(done))?;
    bar.finish_and_clear();

    let names: Vec<String> = args.pred.iter().map(|path| shown(path)).collect();
    let columns = columns(&scored);
    let comparison = Comparison {
        names: &names,
        columns: &columns,
        bootstrap: &bootstrap,
        all_pairs: args.all_pairs,
    };
    let class_names = classes.as_ref().map_or(&[][..], ClassList::names);
    let mut summary = Map::new();
    summary.insert("pictures".into(), scored.pictures.into());
    summary.insert("classes".into(), scored.classes.into());
    summary.insert("left_out".into(), scored.skipped.count().into());
    summary.insert("seed".into(), args.seed.into());
    summary.extend(comparison.to_json());
    if let Some(Value::Array(systems)) = summary.get_mut("systems") {
        for (value, set) in systems.iter_mut().zip(&scored.systems) {
            value["mean_class_top1"] = set.meter.mean_class_accuracy().map(|v| 100.0 * v).into();
            value["most_confused"] = confusions(set, class_names);
        }
    }
    if let Some(out) = &args.out {
        write_files(out, args, &scored, class_names)?;
        eval::write_json(&out.join("summary.json"), &summary)?;
    }
    if args.json {
        return print_json(&summary);
    }
    print_text(&comparison.scores())?;
    if names.len() > 1 {
        print_text(&comparison.differences())?;
    } else if let [only] = scored.systems.as_slice() {
        print_confusions(only, class_names)?;
    }
    print_text(&comparison.explanation())
}

/// Reads everything; what users should know about the files goes to stderr.
fn read(
    args: &ScoreImagenetArgs,
    classes: Option<&ClassList>,
) -> anyhow::Result<ClassificationComparison> {
    let files = [&args.gt, &args.real, &args.class_names, &args.synsets];
    let files = files.into_iter().flatten().chain(&args.pred);
    anyhow::ensure!(
        files.filter(|path| *path == Path::new("-")).count() <= 1,
        "standard input (-) can be read once: name files"
    );
    let strictness = strictness(args.lenient);
    let synsets = args.synsets.as_deref().map(ClassList::read).transpose()?;
    let real = args.real.as_deref().map(RealLabels::read).transpose()?;
    let mut truth = match &args.gt {
        Some(path) => {
            let (truth, skipped) =
                PictureLabels::read(path, classes, synsets.as_ref(), strictness)?;
            tell_skipped(&skipped);
            Some(truth)
        }
        None => None,
    };
    let mut sets = Vec::with_capacity(args.pred.len());
    for path in &args.pred {
        let (set, skipped) = PredictionSet::read(path, truth.as_ref(), classes, strictness)?;
        tell_skipped(&skipped);
        truth.get_or_insert_with(|| set.labels());
        sets.push(set);
    }
    let Some(truth) = truth else {
        anyhow::bail!("there is no file of predictions: name one with --pred");
    };
    let options = ComparisonOptions {
        classes: args.classes.or(classes.map(ClassList::len)),
        real: real.as_ref(),
        strictness,
    };
    let scored = ClassificationComparison::new(&truth, sets, &options)?;
    tell_skipped(&scored.skipped);
    for set in &scored.systems {
        for (what, count) in [
            ("loss", set.meter.losses()),
            ("probability", set.meter.confidences()),
        ] {
            if count > 0 && count < set.meter.count() {
                eprintln!(
                    "note: {}: {count} of {} pictures have a {what}; the score is about these",
                    set.path.display(),
                    set.meter.count()
                );
            }
        }
    }
    Ok(scored)
}

fn shown(path: &Path) -> String {
    if path == Path::new("-") {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    }
}

/// The metrics that some file has.
fn columns(scored: &ClassificationComparison) -> Vec<Column> {
    let weights = vec![1; scored.pictures];
    let defined = |metric: ClassificationMetric| {
        let mut systems = scored.systems.iter();
        systems.any(|set| !set.outcomes.score(metric, &weights).is_nan())
    };
    let column = |(at, metric): (usize, ClassificationMetric)| {
        let (title, factor, decimals) = match metric {
            ClassificationMetric::Top1 => ("top-1 %", 100.0, 2),
            ClassificationMetric::Top5 => ("top-5 %", 100.0, 2),
            ClassificationMetric::Loss => ("loss", 1.0, 4),
            ClassificationMetric::CalibrationError => ("ECE %", 100.0, 2),
            ClassificationMetric::Real => ("ReaL %", 100.0, 2),
        };
        Column {
            metric: at,
            key: metric.name().to_owned(),
            title: title.to_owned(),
            factor,
            decimals,
        }
    };
    ClassificationMetric::ALL
        .into_iter()
        .enumerate()
        .filter(|&(_, metric)| defined(metric))
        .map(column)
        .collect()
}

fn name(class: usize, names: &[String]) -> String {
    names
        .get(class)
        .cloned()
        .unwrap_or_else(|| format!("class {class}"))
}

fn confusions(set: &ScoredSet, names: &[String]) -> Value {
    let pairs = set.meter.confusions();
    let pairs = pairs.iter().take(CONFUSIONS).map(|pair| {
        json!({
            "label": pair.label,
            "predicted": pair.predicted,
            "count": pair.count,
            "label_name": names.get(pair.label),
            "predicted_name": names.get(pair.predicted),
        })
    });
    pairs.collect()
}

fn print_confusions(set: &ScoredSet, names: &[String]) -> anyhow::Result<()> {
    let pairs = set.meter.confusions();
    if !pairs.is_empty() {
        print_text(&"most often confused:")?;
    }
    for pair in pairs.iter().take(CONFUSIONS) {
        print_text(&format!(
            "  {:>6} of {} {} taken for {}",
            pair.count,
            set.meter.classes()[pair.label].count,
            name(pair.label, names),
            name(pair.predicted, names)
        ))?;
    }
    Ok(())
}

/// Per-class scores, confusion matrix and reliability diagram of every file.
fn write_files(
    out: &Path,
    args: &ScoreImagenetArgs,
    scored: &ClassificationComparison,
    class_names: &[String],
) -> anyhow::Result<()> {
    let folders = result_folders(out, &distinct_names(&args.pred));
    for (folder, set) in folders.iter().zip(&scored.systems) {
        eval::write_per_class(&folder.join("per_class.csv"), &set.meter, class_names)?;
        eval::write_confusion(&folder.join("confusion.csv"), &set.meter, class_names)?;
        eval::write_calibration(&folder.join("calibration.csv"), &set.meter)?;
    }
    Ok(())
}

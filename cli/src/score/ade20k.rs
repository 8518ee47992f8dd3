//! `deepmim score ade20k`: semantic segmentation, of ADE20K or any other set of label maps.

use std::path::Path;

use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use deepmim_cli::{ScoreAde20kArgs, print_json, print_text};
use eval::Bootstrap;
use eval::segmentation::{
    LabelSpec, SEGMENTATION_METRICS, SegmentationOptions, SegmentationResult,
    bootstrap_segmentation, evaluate_label_folders, read_class_names, write_class_scores,
    write_confused_classes, write_confusion_matrix,
};
use serde_json::{Map, Value};

use super::comparison::{Column, Comparison};
use super::names::{distinct_names, result_folders};
use super::{bar, bootstrap_config, set_threads, strictness, tell_skipped};

pub fn run(args: &ScoreAde20kArgs) -> anyhow::Result<()> {
    set_threads(args.threads)?;
    let names = match &args.class_names {
        Some(path) => read_class_names(path)?,
        None => Vec::new(),
    };
    let options = SegmentationOptions {
        labels: label_spec(args, names.len())?,
        strictness: strictness(args.lenient),
    };
    let names_of_systems = distinct_names(&args.pred);
    let mut results = Vec::new();
    for path in &args.pred {
        let bar = bar("scoring {bar:30} {pos}/{len} label maps, {eta} left", 0);
        let result = evaluate_label_folders(&args.gt, path, &options, &|done, all| {
            bar.set_length(all);
            bar.set_position(done);
        })?;
        bar.finish_and_clear();
        tell_skipped(&result.skipped);
        tell_shift(path, &result);
        results.push(result);
    }
    if let Some(out) = &args.out {
        let folders = result_folders(out, &names_of_systems);
        for (folder, result) in folders.iter().zip(&results) {
            write_files(folder, result, &names)?;
        }
    }
    let bootstrap = resample(args, &results)?;
    let columns = columns();
    let compared = bootstrap.as_ref().map(|bootstrap| Comparison {
        names: &names_of_systems,
        columns: &columns,
        bootstrap,
        all_pairs: false,
    });
    let summary = json(args, &results, &names, compared.as_ref());
    if let Some(out) = args.out.as_ref().filter(|_| results.len() > 1) {
        eval::write_json(&out.join("comparison.json"), &summary)?;
    }
    if args.json {
        return print_json(&summary);
    }
    match results.as_slice() {
        [only] => {
            if args.per_class {
                print_text(&class_table(only, &names))?;
            }
            print_text(&only.meter.report())?;
        }
        several => {
            if args.per_class {
                print_text(&class_comparison(several, &names_of_systems, &names))?;
            }
            print_text(&comparison(several, &names_of_systems))?;
        }
    }
    if let Some(compared) = compared {
        print_text(&compared.scores())?;
        if results.len() > 1 {
            print_text(&compared.differences())?;
        }
        print_text(&compared.explanation())?;
    }
    Ok(())
}

/// Resamples where folders are compared, or where it was asked for.
fn resample(
    args: &ScoreAde20kArgs,
    results: &[SegmentationResult],
) -> anyhow::Result<Option<Bootstrap>> {
    let Some(config) = bootstrap_config(args.resamples, args.seed, results.len()) else {
        return Ok(None);
    };
    let bar = bar(
        "resampling {bar:30} {pos}/{len}, {eta} left",
        config.resamples as u64,
    );
    let bootstrap = bootstrap_segmentation(results, &config, &|done, _| bar.set_position(done))?;
    bar.finish_and_clear();
    Ok(Some(bootstrap))
}

fn columns() -> Vec<Column> {
    let column = |(metric, key): (usize, &str)| Column {
        metric,
        key: key.to_owned(),
        title: format!("{key} %"),
        factor: 100.0,
        decimals: 2,
    };
    SEGMENTATION_METRICS
        .into_iter()
        .enumerate()
        .map(column)
        .collect()
}

fn label_spec(args: &ScoreAde20kArgs, named: usize) -> anyhow::Result<LabelSpec> {
    let classes = match (args.classes, &args.class_names) {
        (Some(classes), Some(path)) if classes != named => anyhow::bail!(
            "{}: {named} class names, but --classes is {classes}: leave one of the two out",
            path.display()
        ),
        (Some(classes), _) => classes,
        (None, _) => named,
    };
    let mut spec = LabelSpec::new(classes)?;
    spec.reduce_zero_label = args.reduce_zero_label;
    spec.one_based_predictions = args.one_based_predictions;
    if args.ignore_index.is_some() {
        spec.ignore_index = args.ignore_index;
    }
    Ok(spec)
}

/// Says on stderr when predictions look as if they were numbered otherwise than the ground truth.
fn tell_shift(path: &Path, result: &SegmentationResult) {
    let right = result.meter.shifted(0);
    for (offset, remedy) in [
        (
            1,
            "if predictions count from 1, give --one-based-predictions",
        ),
        (
            -1,
            "if the ground truth counts from 1, give --reduce-zero-label",
        ),
    ] {
        if result.meter.shifted(offset) > right {
            let direction = if offset > 0 { "high" } else { "low" };
            eprintln!(
                "note: {}: more pixels are predicted one class too {direction} than right; {remedy}",
                path.display()
            );
        }
    }
}

fn write_files(folder: &Path, result: &SegmentationResult, names: &[String]) -> anyhow::Result<()> {
    let report = result.meter.report();
    report.write_csv(&folder.join("summary.csv"))?;
    report.write_json(&folder.join("summary.json"))?;
    write_class_scores(&folder.join("per_class.csv"), &result.meter, names)?;
    write_confusion_matrix(&folder.join("confusion.csv"), &result.meter, names)?;
    write_confused_classes(&folder.join("confused_classes.csv"), &result.meter, names)?;
    Ok(())
}

/// One object, or a list of them in "predictions" where folders are compared; scores in per cent.
fn json(
    args: &ScoreAde20kArgs,
    results: &[SegmentationResult],
    names: &[String],
    compared: Option<&Comparison<'_>>,
) -> Value {
    let mut objects = args.pred.iter().zip(results).map(|(path, result)| {
        let mut object = Map::new();
        if results.len() > 1 {
            object.insert("folder".to_owned(), path.display().to_string().into());
        }
        if let Value::Object(report) = result.meter.report().to_json() {
            object.extend(report);
        }
        object.insert("left_out".to_owned(), result.skipped.count().into());
        if args.per_class {
            let scores = result.meter.scores().classes;
            let classes = scores.iter().enumerate().map(|(class, scores)| {
                serde_json::json!({
                    "class": class,
                    "name": names.get(class),
                    "IoU": 100.0 * scores.iou,
                    "Acc": 100.0 * scores.accuracy,
                })
            });
            object.insert("classes".to_owned(), classes.collect());
        }
        Value::Object(object)
    });
    let mut summary = match results {
        [_] => objects.next().unwrap_or_default(),
        _ => serde_json::json!({ "predictions": objects.collect::<Vec<_>>() }),
    };
    if let Some(compared) = compared {
        summary["comparison"] = compared.to_json().into();
    }
    summary
}

fn class_name(names: &[String], class: usize) -> String {
    names
        .get(class)
        .cloned()
        .unwrap_or_else(|| class.to_string())
}

fn percent(share: f64) -> String {
    if share.is_nan() {
        "–".to_owned()
    } else {
        format!("{:.2}", 100.0 * share)
    }
}

/// Scores of every class in per cent, as mmsegmentation prints them and a little more.
fn class_table(result: &SegmentationResult, names: &[String]) -> Table {
    let header = ["class", "IoU", "Acc", "Dice", "Precision", "pixels"];
    let areas = result.meter.areas();
    let scores = result.meter.scores().classes;
    let rows = areas
        .iter()
        .zip(&scores)
        .enumerate()
        .map(|(class, (areas, scores))| {
            let mut row = vec![class_name(names, class)];
            row.extend([scores.iou, scores.accuracy, scores.dice, scores.precision].map(percent));
            row.push(areas.labelled.to_string());
            row
        });
    table(header.map(str::to_owned).into(), rows)
}

/// IoU of every class, a column per folder.
fn class_comparison(results: &[SegmentationResult], folders: &[String], names: &[String]) -> Table {
    let scores: Vec<_> = results
        .iter()
        .map(|result| result.meter.scores().classes)
        .collect();
    let classes = scores.first().map_or(0, Vec::len);
    let rows = (0..classes).map(|class| {
        let mut row = vec![class_name(names, class)];
        row.extend(scores.iter().map(|scores| percent(scores[class].iou)));
        row
    });
    let mut header = vec!["IoU".to_owned()];
    header.extend_from_slice(folders);
    table(header, rows)
}

/// The summaries, a column per folder.
fn comparison(results: &[SegmentationResult], folders: &[String]) -> Table {
    let reports: Vec<_> = results.iter().map(|result| result.meter.report()).collect();
    // A row that any of them has; each report has the same ones but for "unclassified_pixels".
    let longest = reports.iter().max_by_key(|report| report.rows().len());
    let rows = longest
        .into_iter()
        .flat_map(|report| report.rows())
        .map(|(name, _)| {
            let mut row = vec![name.clone()];
            row.extend(reports.iter().map(|report| match report.get(name) {
                Some(value) if value.is_nan() => "–".to_owned(),
                Some(value) if value.fract() == 0.0 => format!("{value:.0}"),
                Some(value) => format!("{value:.4}"),
                None => "0".to_owned(),
            }));
            row
        });
    let mut header = vec![String::new()];
    header.extend_from_slice(folders);
    table(header, rows)
}

fn table(header: Vec<String>, rows: impl Iterator<Item = Vec<String>>) -> Table {
    let mut table = Table::new();
    table
        .load_preset(UTF8_FULL_CONDENSED)
        .set_header(header)
        .add_rows(rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

//! `deepmim score ade20k`: semantic segmentation, of ADE20K or any other set of label maps.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use deepmim_cli::{ScoreAde20kArgs, print_json, print_text};
use eval::segmentation::{
    LabelSpec, SegmentationOptions, SegmentationResult, evaluate_label_folders, read_class_names,
    write_class_scores, write_confused_classes, write_confusion_matrix,
};
use serde_json::{Map, Value};

use super::{bar, set_threads, strictness, tell_skipped};

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
    let folders = distinct_names(&args.pred);
    let mut results = Vec::new();
    for (path, folder) in args.pred.iter().zip(&folders) {
        let bar = bar("scoring {bar:30} {pos}/{len} label maps, {eta} left", 0);
        let result = evaluate_label_folders(&args.gt, path, &options, &|done, all| {
            bar.set_length(all);
            bar.set_position(done);
        })?;
        bar.finish_and_clear();
        tell_skipped(&result.skipped);
        tell_shift(path, &result);
        if let Some(out) = &args.out {
            let out = if folders.len() > 1 {
                &out.join(folder)
            } else {
                out
            };
            write_files(out, &result, &names)?;
        }
        results.push(result);
    }
    if args.json {
        return print_json(&json(args, &results, &names));
    }
    if args.per_class {
        match results.as_slice() {
            [only] => print_text(&class_table(only, &names))?,
            several => print_text(&class_comparison(several, &folders, &names))?,
        }
    }
    match results.as_slice() {
        [only] => print_text(&only.meter.report()),
        several => print_text(&comparison(several, &folders)),
    }
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

/// A short name for each path: its last part, or as many of its last parts as tell all apart.
fn distinct_names(paths: &[PathBuf]) -> Vec<String> {
    let parts: Vec<Vec<String>> = paths
        .iter()
        .map(|path| {
            let normal = |part: std::path::Component<'_>| match part {
                std::path::Component::Normal(part) => Some(part.to_string_lossy().into_owned()),
                _ => None,
            };
            path.components().filter_map(normal).collect()
        })
        .collect();
    let deepest = parts.iter().map(Vec::len).max().unwrap_or(0);
    for depth in 1..=deepest {
        let names: Vec<String> = parts
            .iter()
            .map(|parts| parts[parts.len().saturating_sub(depth)..].join("-"))
            .collect();
        let distinct: HashSet<&String> = names.iter().filter(|name| !name.is_empty()).collect();
        if distinct.len() == names.len() {
            return names;
        }
    }
    // The same folder twice, or no named folder at all.
    (1..=paths.len())
        .map(|i| format!("predictions-{i}"))
        .collect()
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

/// One object, or a list of them where folders are compared; scores in per cent.
fn json(args: &ScoreAde20kArgs, results: &[SegmentationResult], names: &[String]) -> Value {
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
    match results {
        [_] => objects.next().unwrap_or_default(),
        _ => objects.collect(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_told_apart_by_as_little_as_it_takes() {
        let names =
            |paths: &[&str]| distinct_names(&paths.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(names(&["out/mae/", "out/deepmim"]), ["mae", "deepmim"]);
        assert_eq!(
            names(&["/a/mae/pred", "/a/deepmim/pred"]),
            ["mae-pred", "deepmim-pred"]
        );
        assert_eq!(names(&["a", "a"]), ["predictions-1", "predictions-2"]);
        assert_eq!(names(&["."]), ["predictions-1"]);
    }
}

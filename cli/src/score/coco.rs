//! `deepmim score coco`.

use std::path::Path;

use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use deepmim_cli::{IouTypeArg, ScoreCocoArgs, print_json, print_text};
use eval::coco::{
    CalibrationOptions, CocoResampler, ConfusionOptions, Curves, Detections, Geometry, GroundTruth,
    IouType, Matches, Params, ResultsFile, match_images,
};
use eval::{Bootstrap, BootstrapSize, bootstrap};
use serde_json::{Map, Value, json};

use super::comparison::{Column, Comparison};
use super::names::{distinct_names, result_folders};
use super::{bar, bootstrap_config, set_threads, strictness, tell_skipped};

/// Scores and compares results files.
pub fn run(args: &ScoreCocoArgs) -> anyhow::Result<()> {
    set_threads(args.threads)?;
    let inputs = read(args)?;
    let names = distinct_names(&args.pred);
    let mut objects = vec![Map::new(); names.len()];
    let mut comparisons = Map::new();
    for &iou_type in &inputs.iou_types {
        let params = Params {
            max_detections: args.max_dets.clone(),
            use_categories: !args.class_agnostic,
            ..Params::default()
        };
        let matched = inputs
            .detections
            .iter()
            .map(|detections| match_images(&inputs.truth, detections, params.clone(), iou_type))
            .collect::<Result<Vec<_>, _>>()?;
        if inputs.iou_types.len() > 1 && !args.json {
            print_text(&format!("{}:", iou_type.name()))?;
        }
        for ((name, matches), object) in names.iter().zip(&matched).zip(&mut objects) {
            let curves = matches.curves();
            object.insert(
                iou_type.name().to_owned(),
                curves.summary()?.report().to_json(),
            );
            if !args.json {
                if names.len() > 1 {
                    print_text(&format!("{name}:"))?;
                }
                print(args, matches, &curves)?;
            }
            if let Some(out) = &args.out {
                let place = names.iter().position(|other| other == name).unwrap_or(0);
                let mut folder = result_folders(out, &names)[place].clone();
                if inputs.iou_types.len() > 1 {
                    folder.push(iou_type.name());
                }
                write_files(args, &folder, matches, &curves)?;
            }
        }
        if let Some(bootstrap) = resample(args, &matched)? {
            let columns = columns();
            let compared = Comparison {
                names: &names,
                columns: &columns,
                bootstrap: &bootstrap,
                all_pairs: false,
            };
            if !args.json {
                print_text(&compared.scores())?;
                if names.len() > 1 {
                    print_text(&compared.differences())?;
                }
                print_text(&compared.explanation())?;
            }
            comparisons.insert(iou_type.name().to_owned(), compared.to_json().into());
        }
    }
    let summary = summary(args, objects, comparisons);
    if let Some(out) = args.out.as_ref().filter(|_| names.len() > 1) {
        eval::write_json(&out.join("comparison.json"), &summary)?;
    }
    if args.json {
        print_json(&summary)?;
    }
    Ok(())
}

/// One object, or a list of them in "predictions" where files are compared; scores 0..=1 or -1.
fn summary(
    args: &ScoreCocoArgs,
    mut objects: Vec<Map<String, Value>>,
    comparisons: Map<String, Value>,
) -> Map<String, Value> {
    let mut summary = if objects.len() == 1 {
        objects.swap_remove(0)
    } else {
        let named = objects.into_iter().zip(&args.pred).map(|(object, path)| {
            let mut named = Map::new();
            named.insert("file".to_owned(), path.display().to_string().into());
            named.extend(object);
            named
        });
        let mut summary = Map::new();
        summary.insert("predictions".to_owned(), json!(named.collect::<Vec<_>>()));
        summary
    };
    if !comparisons.is_empty() {
        summary.insert("comparison".to_owned(), comparisons.into());
    }
    summary
}

struct Inputs {
    truth: GroundTruth,
    detections: Vec<Detections>,
    iou_types: Vec<IouType>,
}

/// Reads everything; what users should know about the files goes to stderr.
fn read(args: &ScoreCocoArgs) -> anyhow::Result<Inputs> {
    let from_stdin = args.pred.iter().chain([&args.gt]);
    anyhow::ensure!(
        from_stdin.filter(|path| *path == Path::new("-")).count() <= 1,
        "standard input (-) can be read once: name files"
    );
    let files = args
        .pred
        .iter()
        .map(|path| ResultsFile::open(path))
        .collect::<Result<Vec<_>, _>>()?;
    let iou_types = iou_types(args, &files);
    let geometry = Geometry {
        boxes: iou_types.contains(&IouType::Bbox),
        masks: iou_types.contains(&IouType::Segm),
    };
    let strictness = strictness(args.lenient);
    let (truth, skipped) = GroundTruth::read(&args.gt, geometry, strictness)?;
    truth
        .notes()
        .iter()
        .for_each(|note| eprintln!("note: {note}"));
    tell_skipped(&skipped);
    let mut detections = Vec::new();
    for (file, path) in files.into_iter().zip(&args.pred) {
        let size = path.metadata().map_or(0, |data| data.len());
        let bar = bar("reading {bar:30} {bytes}/{total_bytes}, {eta} left", size);
        let (read, skipped) = file.read(&truth, strictness, &|bytes| bar.set_position(bytes))?;
        bar.finish_and_clear();
        read.notes()
            .iter()
            .for_each(|note| eprintln!("note: {note}"));
        tell_skipped(&skipped);
        detections.push(read);
    }
    Ok(Inputs {
        truth,
        detections,
        iou_types,
    })
}

/// What was asked for; or boxes, and masks where every file has them.
fn iou_types(args: &ScoreCocoArgs, files: &[ResultsFile]) -> Vec<IouType> {
    let asked = |wanted: IouTypeArg| args.iou_types.contains(&wanted);
    let masks = files.iter().all(|file| file.kind().has_masks());
    let default = args.iou_types.is_empty();
    let mut out = Vec::new();
    if default || asked(IouTypeArg::Bbox) {
        out.push(IouType::Bbox);
    }
    if asked(IouTypeArg::Segm) || (default && masks) {
        out.push(IouType::Segm);
    }
    out
}

/// Resamples where files are compared, or where it was asked for.
fn resample(args: &ScoreCocoArgs, matched: &[Matches<'_>]) -> anyhow::Result<Option<Bootstrap>> {
    let Some(config) = bootstrap_config(args.resamples, args.seed, matched.len()) else {
        return Ok(None);
    };
    let systems: Vec<CocoResampler> = matched.iter().map(Matches::resampler).collect();
    let size = BootstrapSize {
        images: systems.first().map_or(0, CocoResampler::images),
        systems: systems.len(),
        metrics: CocoResampler::METRICS.len(),
    };
    let bar = bar(
        "resampling {bar:30} {pos}/{len}, {eta} left",
        config.resamples as u64,
    );
    let score = |system: usize, weights: &[u32], scores: &mut [f64]| {
        systems[system].scores(weights, scores);
    };
    let bootstrap = bootstrap(size, &config, score, &|done, _| bar.set_position(done))?;
    bar.finish_and_clear();
    Ok(Some(bootstrap.with_score_method(CocoResampler::INTERVALS)))
}

fn columns() -> Vec<Column> {
    let column = |(metric, key): (usize, &str)| Column {
        metric,
        key: key.to_owned(),
        title: format!("{key} %"),
        factor: 100.0,
        decimals: 2,
    };
    CocoResampler::METRICS
        .into_iter()
        .enumerate()
        .map(column)
        .collect()
}

fn print(args: &ScoreCocoArgs, matches: &Matches<'_>, curves: &Curves) -> anyhow::Result<()> {
    print_text(&curves.summary()?)?;
    if args.per_category {
        print_text(&category_table(curves))?;
    }
    if args.errors {
        let errors = matches.errors();
        print_text(&errors)?;
        errors
            .notes()
            .iter()
            .for_each(|note| eprintln!("note: {note}"));
        print_text(&curves.size_iou())?;
        print_text(&matches.confusion(&ConfusionOptions::default())?)?;
        print_text(
            &matches
                .calibration(&CalibrationOptions::default())?
                .report(),
        )?;
    }
    Ok(())
}

fn write_files(
    args: &ScoreCocoArgs,
    folder: &Path,
    matches: &Matches<'_>,
    curves: &Curves,
) -> anyhow::Result<()> {
    let summary = curves.summary()?.report();
    summary.write_csv(&folder.join("summary.csv"))?;
    summary.write_json(&folder.join("summary.json"))?;
    curves.write_per_category(&folder.join("per_category.csv"))?;
    curves.write_precision_recall(&folder.join("precision_recall.csv"))?;
    curves.size_iou().write_csv(&folder.join("size_iou.csv"))?;
    let errors = matches.errors();
    errors.write_csv(&folder.join("errors.csv"))?;
    errors.write_per_category(&folder.join("errors_per_category.csv"))?;
    matches
        .confusion(&ConfusionOptions::default())?
        .write_csv(&folder.join("confusion.csv"))?;
    matches
        .calibration(&CalibrationOptions::default())?
        .write_csv(&folder.join("calibration.csv"))?;
    if args.arrays {
        curves.write_arrays(folder)?;
    }
    Ok(())
}

/// AP of every category in per cent, as detectron2 prints it.
fn category_table(curves: &Curves) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED);
    let mut header = vec!["category", "objects", "AP", "AP50", "AP75"];
    header.extend(
        curves
            .params()
            .areas
            .iter()
            .skip(1)
            .map(|area| area.name.as_str()),
    );
    header.push("AR");
    table.set_header(header);
    let percent = |value: f64| {
        if value == -1.0 {
            "–".to_owned()
        } else {
            format!("{:.1}", 100.0 * value)
        }
    };
    for scores in curves.categories_scores() {
        let mut row = vec![scores.name, scores.objects.to_string()];
        row.extend([scores.ap, scores.ap50, scores.ap75].map(percent));
        row.extend(scores.ap_by_area.into_iter().map(percent));
        row.push(percent(scores.ar));
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

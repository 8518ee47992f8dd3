//! `deepmim score coco`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use deepmim_cli::{IouTypeArg, ScoreCocoArgs, print_json, print_text};
use eval::coco::{
    Curves, Detections, Geometry, GroundTruth, IouType, Matches, Params, ResultsFile, match_images,
};
use serde_json::{Map, Value};

use super::{bar, set_threads, strictness, tell_skipped};

pub fn run(args: &ScoreCocoArgs) -> anyhow::Result<()> {
    set_threads(args.threads)?;
    let inputs = read(args)?;
    let params = Params {
        max_detections: args.max_dets.clone(),
        use_categories: !args.class_agnostic,
        ..Params::default()
    };
    let mut json = Vec::new();
    for (path, detections) in args.pred.iter().zip(&inputs.detections) {
        if args.pred.len() > 1 && !args.json {
            print_text(&format!("{}:", path.display()))?;
        }
        let mut object = Map::new();
        for &iou_type in &inputs.iou_types {
            let matches = match_images(&inputs.truth, detections, params.clone(), iou_type)?;
            let curves = matches.curves();
            let summary = curves.summary()?;
            object.insert(iou_type.name().to_owned(), summary.report().to_json());
            if !args.json {
                if inputs.iou_types.len() > 1 {
                    print_text(&format!("{}:", iou_type.name()))?;
                }
                print_text(&summary)?;
                if args.per_category {
                    print_text(&category_table(&curves))?;
                }
            }
            if let Some(out) = &args.out {
                write_files(
                    args,
                    &folder(out, args, path, iou_type, &inputs),
                    &matches,
                    &curves,
                )?;
            }
        }
        json.push(object);
    }
    if args.json {
        match json.as_slice() {
            [only] => print_json(only)?,
            several => {
                let named = |(path, object): (&PathBuf, &Map<String, Value>)| {
                    let mut named = Map::new();
                    named.insert("file".to_owned(), path.display().to_string().into());
                    named.extend(object.clone());
                    Value::Object(named)
                };
                print_json(&args.pred.iter().zip(several).map(named).collect::<Vec<_>>())?;
            }
        }
    }
    Ok(())
}

struct Inputs {
    truth: GroundTruth,
    detections: Vec<Detections>,
    iou_types: Vec<IouType>,
}

/// Reads everything; what users should know about the files goes to stderr.
fn read(args: &ScoreCocoArgs) -> anyhow::Result<Inputs> {
    let stdin = Path::new("-");
    let from_stdin = args
        .pred
        .iter()
        .chain([&args.gt])
        .filter(|path| *path == stdin);
    anyhow::ensure!(
        from_stdin.count() <= 1,
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

/// Where a file's results go: `DIR`, with a folder per prediction file and per type where there are
/// several.
fn folder(
    out: &Path,
    args: &ScoreCocoArgs,
    path: &Path,
    iou_type: IouType,
    inputs: &Inputs,
) -> PathBuf {
    let mut folder = out.to_owned();
    if args.pred.len() > 1 {
        let name = path.file_stem().unwrap_or(path.as_os_str());
        folder.push(name);
    }
    if inputs.iou_types.len() > 1 {
        folder.push(iou_type.name());
    }
    folder
}

fn write_files(
    args: &ScoreCocoArgs,
    folder: &Path,
    _matches: &Matches<'_>,
    curves: &Curves,
) -> anyhow::Result<()> {
    let summary = curves.summary()?.report();
    summary.write_csv(&folder.join("summary.csv"))?;
    summary.write_json(&folder.join("summary.json"))?;
    curves.write_per_category(&folder.join("per_category.csv"))?;
    curves.write_precision_recall(&folder.join("precision_recall.csv"))?;
    if args.arrays {
        curves
            .write_arrays(folder)
            .with_context(|| "the arrays were not written")?;
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

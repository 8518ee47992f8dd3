//! `deepmim-data`: the commands that need pictures but no model. Users start `deepmim`, which becomes this.

mod data_tokens;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use data::{
    CheckOptions, ClassificationConfig, ClassificationData, CocoLabelsConfig,
    DetectionCheckOptions, DetectionData, DetectionSource, PictureData, PictureFormat,
    SegmentationCheckOptions, SegmentationData, SegmentationLabels, SegmentationSource,
    SynthClassificationConfig, SynthDetectionConfig, SynthSegmentationConfig, check_classification,
    check_detection, check_segmentation, coco_labels, synth_classification, synth_detection,
    synth_segmentation,
};
use deepmim_cli::{
    CheckArgs, Cli, Command, DataCommand, Failure, LabelsArgs, RecipeText, SynthCommand, finish,
    print_json, print_text,
};
use indicatif::{ProgressBar, ProgressStyle};

fn main() -> ExitCode {
    finish(run(Cli::parse().command))
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Data(DataCommand::Synth(command)) => synth(&command),
        Command::Data(DataCommand::Check(args)) => check(&args),
        Command::Data(DataCommand::Labels(args)) => labels(&args),
        Command::Data(DataCommand::Tokens(args)) => data_tokens::run(&args, &bar("tokens")),
        _ => Err(anyhow::anyhow!("start this command as deepmim").into()),
    }
}

fn synth(command: &SynthCommand) -> Result<(), Failure> {
    let told = match command {
        SynthCommand::Classification {
            out,
            classes,
            per_class,
            val_per_class,
            size,
            plain,
            seed,
        } => {
            let config = SynthClassificationConfig {
                classes: *classes,
                train_per_class: *per_class,
                val_per_class: *val_per_class,
                size: *size,
                plain: *plain,
                seed: *seed,
                format: PictureFormat::Png,
            };
            let drawn = synth_classification(out, &config)?;
            format!(
                "{} pictures of {} classes in {} and {}",
                drawn.pictures,
                drawn.classes.len(),
                drawn.train.display(),
                drawn.val.display()
            )
        }
        SynthCommand::Detection {
            out,
            pictures,
            val_pictures,
            size,
            classes,
            max_objects,
            plain,
            seed,
        } => {
            let config = SynthDetectionConfig {
                pictures: *pictures,
                val_pictures: *val_pictures,
                size: *size,
                classes: *classes,
                max_objects: *max_objects,
                plain: *plain,
                seed: *seed,
            };
            let drawn = synth_detection(out, &config)?;
            format!(
                "{} pictures with {} objects and {} crowds of {} classes: {} and {}",
                drawn.pictures,
                drawn.objects,
                drawn.crowds,
                drawn.classes.len(),
                drawn.train.display(),
                drawn.val.display()
            )
        }
        SynthCommand::Segmentation {
            out,
            pictures,
            val_pictures,
            size,
            classes,
            max_objects,
            plain,
            seed,
        } => {
            let config = SynthSegmentationConfig {
                pictures: *pictures,
                val_pictures: *val_pictures,
                size: *size,
                classes: *classes,
                max_objects: *max_objects,
                plain: *plain,
                seed: *seed,
            };
            let drawn = synth_segmentation(out, &config)?;
            format!(
                "{} pictures of {} classes, {:.1} % of the pixels without one: {} and {}, named in {}",
                drawn.pictures,
                drawn.classes.len(),
                100.0 * drawn.unlabelled,
                drawn.train.labels.display(),
                drawn.val.labels.display(),
                drawn.names.display()
            )
        }
    };
    print_text(&told)?;
    Ok(())
}

fn labels(args: &LabelsArgs) -> Result<(), Failure> {
    let config = CocoLabelsConfig {
        annotations: args.annotations.clone(),
        images: args.images.clone(),
        out: args.out.clone(),
        split: args.split.clone(),
        ignore_background: args.ignore_background,
        keep_crowds: args.keep_crowds,
    };
    let bar = bar("labels");
    let written = coco_labels(&config, &|done, all| show(&bar, done, all))?;
    bar.finish_and_clear();
    for (count, why) in [
        (written.without_outline, "have no outline"),
        (
            written.strays,
            "belong to pictures that the file does not list",
        ),
    ] {
        if count > 0 {
            eprintln!(
                "warning: {}: {count} annotations {why}, and are left out",
                args.annotations.display()
            );
        }
    }
    print_text(&format!(
        "{} label maps with {} objects and {} crowds of {} classes in {}, named in {}",
        written.pictures,
        written.objects,
        written.crowds,
        written.classes.len(),
        written.labels.display(),
        written.names.display()
    ))?;
    Ok(())
}

/// A bar that counts files and vanishes where there is no terminal.
fn bar(what: &str) -> ProgressBar {
    let bar = ProgressBar::new(0);
    let template = format!("{what} {{bar:30}} {{pos}}/{{len}} files, {{eta}} left");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar
}

fn show(bar: &ProgressBar, done: usize, all: usize) {
    bar.set_length(all as u64);
    bar.set_position(done as u64);
}

/// What `data check` looks at.
enum Checked {
    Classification(CheckOptions),
    Detection(DetectionCheckOptions),
    Segmentation(SegmentationCheckOptions),
}

fn check(args: &CheckArgs) -> Result<(), Failure> {
    let checked = match (&args.config, &args.annotations, &args.labels) {
        (Some(path), _, _) => from_recipe(path, args)?,
        (None, Some(annotations), _) => Checked::Detection(from_files(annotations, args)),
        (None, None, Some(labels)) => Checked::Segmentation(from_folders(labels, args)),
        (None, None, None) => Checked::Classification(CheckOptions {
            train: args.train.clone().map(ClassificationConfig::folders),
            val: args.val.clone().map(ClassificationConfig::folders),
            expected_classes: args.classes,
        }),
    };
    let bar = bar("check");
    let progress = |done: usize, all: usize| show(&bar, done, all);
    let report = match &checked {
        Checked::Classification(options) => check_classification(options, &progress),
        Checked::Detection(options) => check_detection(options, &progress),
        Checked::Segmentation(options) => check_segmentation(options, &progress),
    }?;
    bar.finish_and_clear();
    if args.json {
        print_json(&report)?
    } else {
        print_text(&report)?
    }
    if report.is_ok() {
        Ok(())
    } else {
        Err(Failure::Negative)
    }
}

fn from_files(annotations: &Path, args: &CheckArgs) -> DetectionCheckOptions {
    let images = args.images.clone().unwrap_or_default();
    let val_images = args.val_images.as_ref().unwrap_or(&images);
    let val = args.val_annotations.as_ref();
    DetectionCheckOptions {
        val: val.map(|annotations| DetectionSource {
            images: val_images.clone(),
            annotations: annotations.clone(),
        }),
        train: Some(DetectionSource {
            images,
            annotations: annotations.to_owned(),
        }),
        expected_classes: args.classes,
    }
}

fn from_folders(labels: &Path, args: &CheckArgs) -> SegmentationCheckOptions {
    let source = |images: &Option<PathBuf>, labels: &Path| SegmentationSource {
        images: images.clone().unwrap_or_default(),
        labels: labels.to_owned(),
    };
    let val = args.val_labels.as_ref();
    SegmentationCheckOptions {
        train: Some(source(&args.images, labels)),
        val: val.map(|labels| source(&args.val_images, labels)),
        labels: SegmentationLabels {
            names: args.classes_file.clone(),
            reduce_zero_label: args.reduce_zero_label,
            ..SegmentationLabels::default()
        },
        expected_classes: args.classes,
    }
}

/// The data set of a recipe, and the number of classes its model has.
fn from_recipe(path: &Path, args: &CheckArgs) -> anyhow::Result<Checked> {
    let mut text = RecipeText::read(path)?;
    if let Some(root) = &args.data {
        text.set_value("data.root", root.display().to_string().into())?;
    }
    if text.string("task") == Some("pretrain") {
        let data: PictureData = text.section("data")?;
        return Ok(Checked::Classification(CheckOptions {
            train: Some(data.train.under(&data.root)),
            expected_classes: args.classes,
            ..CheckOptions::default()
        }));
    }
    let model: toml::Table = text.section("model")?;
    let classes = model.get("classes").and_then(toml::Value::as_integer);
    let classes = classes.and_then(|count| usize::try_from(count).ok());
    let expected_classes = args.classes.or(classes);
    if text.string("task") == Some("detect") {
        let data: DetectionData = text.section("data")?;
        return Ok(Checked::Detection(DetectionCheckOptions {
            train: Some(data.train.under(&data.root)),
            val: Some(data.val.under(&data.root)),
            expected_classes,
        }));
    }
    if text.string("task") == Some("segment") {
        let data: SegmentationData = text.section("data")?;
        return Ok(Checked::Segmentation(SegmentationCheckOptions {
            train: Some(data.train.under(&data.root)),
            val: Some(data.val.under(&data.root)),
            labels: data.classes.under(&data.root),
            expected_classes,
        }));
    }
    let data: ClassificationData = text.section("data")?;
    Ok(Checked::Classification(CheckOptions {
        train: Some(data.train.under(&data.root)),
        val: Some(data.val.under(&data.root)),
        expected_classes,
    }))
}

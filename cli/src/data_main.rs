//! `deepmim-data`: the commands that need pictures but no model. Users start `deepmim`, which becomes this.

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use data::{
    CheckOptions, ClassificationConfig, ClassificationData, DetectionCheckOptions, DetectionData,
    DetectionSource, PictureData, PictureFormat, SynthClassificationConfig, SynthDetectionConfig,
    check_classification, check_detection, synth_classification, synth_detection,
};
use deepmim_cli::{
    CheckArgs, Cli, Command, DataCommand, Failure, RecipeText, SynthCommand, finish, print_json,
    print_text,
};
use indicatif::{ProgressBar, ProgressStyle};

fn main() -> ExitCode {
    finish(run(Cli::parse().command))
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Data(DataCommand::Synth(command)) => synth(&command),
        Command::Data(DataCommand::Check(args)) => check(&args),
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
            seed,
        } => {
            let config = SynthClassificationConfig {
                classes: *classes,
                train_per_class: *per_class,
                val_per_class: *val_per_class,
                size: *size,
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
            seed,
        } => {
            let config = SynthDetectionConfig {
                pictures: *pictures,
                val_pictures: *val_pictures,
                size: *size,
                classes: *classes,
                max_objects: *max_objects,
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
    };
    print_text(&told)?;
    Ok(())
}

/// What `data check` looks at.
enum Checked {
    Classification(CheckOptions),
    Detection(DetectionCheckOptions),
}

fn check(args: &CheckArgs) -> Result<(), Failure> {
    let checked = match (&args.config, &args.annotations) {
        (Some(path), _) => from_recipe(path, args)?,
        (None, Some(annotations)) => Checked::Detection(from_files(annotations, args)),
        (None, None) => Checked::Classification(CheckOptions {
            train: args.train.clone().map(ClassificationConfig::folders),
            val: args.val.clone().map(ClassificationConfig::folders),
            expected_classes: args.classes,
        }),
    };
    let bar = ProgressBar::new(0);
    if let Ok(style) =
        ProgressStyle::with_template("check {bar:30} {pos}/{len} pictures, {eta} left")
    {
        bar.set_style(style);
    }
    let progress = |done: usize, all: usize| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    };
    let report = match &checked {
        Checked::Classification(options) => check_classification(options, &progress),
        Checked::Detection(options) => check_detection(options, &progress),
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
    let data: ClassificationData = text.section("data")?;
    Ok(Checked::Classification(CheckOptions {
        train: Some(data.train.under(&data.root)),
        val: Some(data.val.under(&data.root)),
        expected_classes,
    }))
}

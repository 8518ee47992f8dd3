//! `deepmim-data`: the commands that need pictures but no model. Users start `deepmim`, which becomes this.

use std::process::ExitCode;

use clap::Parser;
use data::{
    CheckOptions, ClassificationConfig, ClassificationData, PictureData, PictureFormat,
    SynthClassificationConfig, SynthDetectionConfig, check_classification, synth_classification,
    synth_detection,
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
    match command {
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
            print_text(&format!(
                "{} pictures of {} classes in {} and {}",
                drawn.pictures,
                drawn.classes.len(),
                drawn.train.display(),
                drawn.val.display()
            ))?;
        }
        SynthCommand::Detection {
            out,
            pictures,
            val_pictures,
            classes,
            max_objects,
            size,
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
            print_text(&format!(
                "{} pictures with {} objects and {} crowds of {} classes: {} and {}",
                drawn.pictures,
                drawn.objects,
                drawn.crowds,
                drawn.classes.len(),
                drawn.train.display(),
                drawn.val.display()
            ))?;
        }
    }
    Ok(())
}

fn check(args: &CheckArgs) -> Result<(), Failure> {
    let mut options = match &args.config {
        Some(_) => from_recipe(args)?,
        None => CheckOptions {
            train: args.train.clone().map(ClassificationConfig::folders),
            val: args.val.clone().map(ClassificationConfig::folders),
            expected_classes: None,
        },
    };
    options.expected_classes = args.classes.or(options.expected_classes);
    let bar = ProgressBar::new(0);
    if let Ok(style) =
        ProgressStyle::with_template("check {bar:30} {pos}/{len} pictures, {eta} left")
    {
        bar.set_style(style);
    }
    let report = check_classification(&options, &|done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    })?;
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

/// The data set of a recipe, and the number of classes its model has.
fn from_recipe(args: &CheckArgs) -> anyhow::Result<CheckOptions> {
    let path = args.config.as_deref().unwrap_or(std::path::Path::new(""));
    let mut text = RecipeText::read(path)?;
    if let Some(root) = &args.data {
        text.set_value("data.root", root.display().to_string().into())?;
    }
    if text.string("task") == Some("pretrain") {
        let data: PictureData = text.section("data")?;
        return Ok(CheckOptions {
            train: Some(data.train.under(&data.root)),
            ..CheckOptions::default()
        });
    }
    let data: ClassificationData = text.section("data")?;
    let model: toml::Table = text.section("model")?;
    let classes = model.get("classes").and_then(toml::Value::as_integer);
    Ok(CheckOptions {
        train: Some(data.train.under(&data.root)),
        val: Some(data.val.under(&data.root)),
        expected_classes: classes.and_then(|count| usize::try_from(count).ok()),
    })
}

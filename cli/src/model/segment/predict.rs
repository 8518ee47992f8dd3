//! `deepmim predict` for recipes of segmentation: label maps in colours, and pictures with them laid over.

use std::path::PathBuf;

use anyhow::bail;
use data::{
    Orientation, SegmentationSample, class_palette, decode_file, draw_labels, segmentation_views,
    write_palette_png,
};
use deepmim_cli::{Failure, PredictArgs, RecipeText, print_json, print_text};
use engine::{StepContext, Task, TaskError, World};
use serde::Serialize;

use super::{CLASSES, Model};
use crate::experiment::SegmentRecipe;
use crate::outputs::{free_paths, prediction_folder};
use crate::weights::Weights;

/// How much of a class's colour lies over the picture.
const OPACITY: f64 = 0.5;

/// A class that was found, as `predict` writes it.
#[derive(Serialize)]
struct Found {
    class: usize,
    name: String,
    pixels: usize,
    /// Of all pixels of the picture.
    share: f64,
}

/// One picture as `predict` writes it.
#[derive(Serialize)]
struct PictureFound {
    picture: String,
    labels: PathBuf,
    overlay: PathBuf,
    /// The largest first.
    classes: Vec<Found>,
}

/// Labels every pixel of pictures, and colours them.
pub fn predict(args: &PredictArgs, text: &RecipeText) -> Result<(), Failure> {
    let recipe = SegmentRecipe::from_text(text, "predict")?;
    if args.top.is_some() {
        return Err(anyhow::anyhow!(
            "--top is for recipes with task = \"classify\": all classes of a picture are listed"
        )
        .into());
    }
    let model = Model::restore(&recipe, &args.weights, &World::alone())?;
    let names = class_names(args, &recipe, &model.weights)?;
    let palette = match &recipe.data.classes.palette {
        Some(palette) => palette.clone(),
        None => class_palette(&names),
    };
    let out = prediction_folder(args)?;
    let mut answers: Vec<PictureFound> = Vec::new();
    for path in &args.images {
        let picture = path.display().to_string();
        let mut image = decode_file(path, Orientation::Apply)?;
        let mut views = segmentation_views(&image, &recipe.data.eval_transform)?;
        let first = views.remove(0);
        let sample = SegmentationSample {
            image: first,
            further_views: views,
            labels: None,
            original_size: (image.height, image.width),
            name: picture.clone(),
        };
        let failed = |error: TaskError| anyhow::anyhow!("{picture}: {error}");
        let batch = model
            .task
            .collate(vec![sample], &StepContext::evaluation(), model.device)
            .map_err(failed)?;
        for found in model.task.predict(&batch).map_err(failed)? {
            let files = |stem: &str| [format!("{stem}.png"), format!("{stem}_overlay.png")];
            let [labels, overlay] = free_paths(
                path,
                |stem| files(stem).map(|file| out.join(file)),
                |path| {
                    answers
                        .iter()
                        .any(|b| b.labels == path || b.overlay == path)
                },
            )?;
            write_palette_png(&labels, found.width, found.height, &found.labels, &palette)?;
            draw_labels(&mut image, &found.labels, &palette, OPACITY);
            image.write_png(&overlay)?;
            answers.push(PictureFound {
                picture: picture.clone(),
                labels,
                overlay,
                classes: listed(&found.labels, &names),
            });
        }
    }
    let file = out.join("segments.json");
    eval::write_json(&file, &answers)?;
    if args.json {
        print_json(&answers)?;
        return Ok(());
    }
    for answer in &answers {
        print_text(&format!(
            "{} -> {}, {}",
            answer.picture,
            answer.labels.display(),
            answer.overlay.display()
        ))?;
        for class in &answer.classes {
            print_text(&format!("  {:5.1} %  {}", 100.0 * class.share, class.name))?;
        }
    }
    eprintln!("pixels of each class: {}", file.display());
    Ok(())
}

/// Names from `--classes`, from the run, or from the data set where it is there; else numbers.
fn class_names(
    args: &PredictArgs,
    recipe: &SegmentRecipe,
    weights: &Weights,
) -> anyhow::Result<Vec<String>> {
    let wanted = recipe.model.classes;
    let in_run = weights
        .run
        .as_ref()
        .map(|run| run.join(CLASSES))
        .filter(|path| path.is_file());
    let Some(path) = args.classes.clone().or(in_run) else {
        return Ok(recipe
            .data
            .class_names()
            .ok()
            .filter(|names| names.len() == wanted)
            .unwrap_or_else(|| (0..wanted).map(|class| format!("class {class}")).collect()));
    };
    let names = eval::segmentation::read_class_names(&path)?;
    if names.len() != wanted {
        bail!(
            "{} names {} classes and the model has {wanted}: give one name for each",
            path.display(),
            names.len()
        );
    }
    Ok(names)
}

fn listed(labels: &[u8], names: &[String]) -> Vec<Found> {
    let mut pixels = vec![0; names.len()];
    for label in labels {
        pixels[usize::from(*label)] += 1;
    }
    let mut found: Vec<Found> = names
        .iter()
        .zip(pixels)
        .enumerate()
        .filter(|(_, (_, pixels))| *pixels > 0)
        .map(|(class, (name, pixels))| Found {
            class,
            name: name.clone(),
            pixels,
            share: pixels as f64 / labels.len() as f64,
        })
        .collect();
    found.sort_by_key(|class| std::cmp::Reverse(class.pixels));
    found
}

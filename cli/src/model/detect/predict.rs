//! `deepmim predict` for recipes of detection: a list of what is found, and pictures with it drawn in.

use std::path::PathBuf;

use data::{
    DetectionSample, Orientation, OverlayObject, decode_file, detection_input, draw_detections,
};
use deepmim_cli::{Failure, PredictArgs, RecipeText, print_json, print_text};
use detection::DetectedPicture;
use engine::{StepContext, Task, TaskError, World};
use eval::coco::Id;
use serde::Serialize;

use super::Model;
use super::categories::category_names;
use crate::experiment::DetectRecipe;
use crate::outputs::{free_paths, prediction_folder};

/// One detection as `predict` writes it.
#[derive(Serialize)]
struct Found<'a> {
    category: &'a str,
    class: usize,
    score: f32,
    /// `x, y, width, height` in pixels of the picture.
    bbox: [f32; 4],
    #[serde(skip_serializing_if = "Option::is_none")]
    segmentation: Option<Segmentation>,
}

#[derive(Serialize)]
struct Segmentation {
    size: [u32; 2],
    counts: String,
}

/// One picture as `predict` writes it.
#[derive(Serialize)]
struct PictureFound<'a> {
    picture: String,
    overlay: PathBuf,
    objects: Vec<Found<'a>>,
}

/// Finds objects on pictures, and draws them.
pub fn predict(args: &PredictArgs, text: &RecipeText) -> Result<(), Failure> {
    let recipe = DetectRecipe::from_text(text, "predict")?;
    if args.top.is_some() {
        return Err(anyhow::anyhow!(
            "--top is for recipes with task = \"classify\": --max-detections says how many objects to find"
        )
        .into());
    }
    let model = Model::restore(&recipe, &args.weights, &World::alone())?;
    let names = category_names(args, &recipe, &model.weights)?;
    let out = prediction_folder(args)?;
    let mut answers: Vec<PictureFound> = Vec::new();
    for path in &args.images {
        let picture = path.display().to_string();
        let mut image = decode_file(path, Orientation::Apply)?;
        let sample = DetectionSample {
            image: detection_input(&image, &recipe.data.eval_transform),
            instances: Vec::new(),
            image_id: Id::Text(picture.as_str().into()),
            original_size: (image.height, image.width),
            name: picture.clone(),
        };
        let failed = |error: TaskError| anyhow::anyhow!("{picture}: {error}");
        let batch = model
            .task
            .collate(vec![sample], &StepContext::evaluation(), model.device)
            .map_err(failed)?;
        for found in model.task.predict(&batch).map_err(failed)? {
            let [overlay] = free_paths(
                path,
                |stem| [out.join(format!("{stem}.png"))],
                |path| answers.iter().any(|before| before.overlay == path),
            )?;
            draw(&mut image, &found, &names)?;
            image.write_png(&overlay)?;
            answers.push(PictureFound {
                picture: picture.clone(),
                overlay,
                objects: listed(&found, &names),
            });
        }
    }
    let file = out.join("detections.json");
    eval::write_json(&file, &answers)?;
    if args.json {
        print_json(&answers)?;
        return Ok(());
    }
    for answer in &answers {
        print_text(&format!(
            "{} -> {}",
            answer.picture,
            answer.overlay.display()
        ))?;
        for object in &answer.objects {
            let [x, y, width, height] = object.bbox;
            print_text(&format!(
                "  {:5.1} %  {}  at {x:.0}, {y:.0}, {width:.0} x {height:.0}",
                100.0 * object.score,
                object.category
            ))?;
        }
    }
    eprintln!("all detections with masks: {}", file.display());
    Ok(())
}

fn draw(
    image: &mut data::RgbImage,
    found: &DetectedPicture,
    names: &[String],
) -> anyhow::Result<()> {
    let detections = &found.detections;
    let masks: Option<Vec<Vec<u8>>> = found
        .masks
        .as_ref()
        .map(|masks| masks.iter().map(eval::Rle::decode_row_major).collect());
    let labels: Vec<String> = (0..detections.len())
        .map(|at| {
            let name = &names[detections.classes[at]];
            format!("{name} {:.0} %", 100.0 * detections.scores[at])
        })
        .collect();
    // The best last, so that they lie on top.
    let objects: Vec<OverlayObject> = (0..detections.len())
        .rev()
        .map(|at| OverlayObject {
            bounds: detections.boxes[at],
            mask: masks.as_ref().map(|masks| masks[at].as_slice()),
            label: &labels[at],
            colour: detections.classes[at],
        })
        .collect();
    Ok(draw_detections(image, &objects)?)
}

fn listed<'a>(found: &DetectedPicture, names: &'a [String]) -> Vec<Found<'a>> {
    let detections = &found.detections;
    (0..detections.len())
        .map(|at| Found {
            category: &names[detections.classes[at]],
            class: detections.classes[at],
            score: detections.scores[at],
            bbox: detection::results::DetectionResult::bbox_of(detections.boxes[at]),
            segmentation: found.masks.as_ref().map(|masks| Segmentation {
                size: [masks[at].height(), masks[at].width()],
                counts: masks[at].to_compressed(),
            }),
        })
        .collect()
}

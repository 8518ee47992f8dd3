//! `deepmim finetune`, `eval` and `predict` for recipes of detection.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use data::{
    DetectionCategory, DetectionDataset, DetectionSample, LoadedSet, Orientation, OverlayObject,
    decode_file, detection_input, draw_detections,
};
use deepmim_cli::{
    EvalArgs, Failure, FinetuneArgs, PredictArgs, RecipeText, RunArgs, print_json, print_text,
};
use detection::{
    DetectedPicture, DetectionEvaluation, DetectionTask, DetectorConfig, evaluate_detector,
};
use engine::{BatchSource, EvaluateOptions, StepContext, StopFlag, Task, TaskError, Trainer};
use eval::coco::Id;
use serde::{Deserialize, Serialize};
use tch::{Device, nn};

use crate::experiment::DetectRecipe;
use crate::session::{Batches, Session, ended, goes_on, prepare};
use crate::weights::Weights;

/// File of a run with the categories in class order, as an annotation file lists them.
const CATEGORIES: &str = "categories.json";

/// One entry of [`CATEGORIES`].
#[derive(Serialize, Deserialize)]
struct Category {
    id: serde_json::Value,
    name: String,
}

/// Fine-tunes as the command line says.
pub fn finetune(args: &FinetuneArgs, text: &RecipeText) -> Result<(), Failure> {
    let recipe = DetectRecipe::from_text(text, "finetune")?;
    let init = Weights::initial(args, &recipe.init)?;
    let evaluation = train(&recipe, &text.name(), init.as_ref(), &args.run)?;
    print_scores(&evaluation)?;
    Ok(())
}

/// Trains in one run folder, evaluates, and leaves the results file in it.
pub fn train(
    recipe: &DetectRecipe,
    name: &str,
    init: Option<&Weights>,
    args: &RunArgs,
) -> Result<DetectionEvaluation, Failure> {
    let config = &recipe.trainer;
    let train = recipe.data.open_train(config.batch_size, config.seed)?;
    let val = recipe.data.open_val()?;
    check_classes(&recipe.model, &train)?;
    same_categories(&train, &val)?;

    let device = prepare(&recipe.run.device, config)?;
    let vs = nn::VarStore::new(device);
    let decay = config.optimizer.weight_decay();
    let task = DetectionTask::new(&vs, &recipe.model, decay, recipe.test_time)?;
    if let Some(weights) = init
        && !goes_on(args, name)?
    {
        eprint!("{}", weights.initialise_detector(&vs, &recipe.init)?);
    }
    let session = Session::open(args, name, device, recipe, config)?;
    let folder = session.run.path().to_owned();
    write_categories(&folder, train.dataset.categories())?;
    let options = EvaluateOptions {
        device,
        precision: config.precision,
        batches: val.loader.batches(),
        label: "evaluate".into(),
        stop: session.stop.clone(),
    };
    let mut trainer = Trainer::new(&vs, &task, config.clone(), session.run, session.stop)?;
    let mut last = None;
    let outcome = trainer.fit(&task, &Batches(&train.loader), |_, task| {
        let evaluation = evaluate_set(task, &val, &options, &folder.join("eval"))?;
        let rows = evaluation.scores.report()?.rows().to_vec();
        last = Some(evaluation);
        Ok::<_, TaskError>(rows)
    })?;
    ended(outcome, &folder)?;
    last.ok_or_else(|| {
        anyhow::anyhow!(
            "the run in {} is finished already; evaluate it with deepmim eval",
            folder.display()
        )
        .into()
    })
}

fn evaluate_set(
    task: &DetectionTask,
    set: &LoadedSet<DetectionDataset>,
    options: &EvaluateOptions,
    folder: &Path,
) -> Result<DetectionEvaluation, engine::EngineError> {
    evaluate_detector(
        task,
        Batches(&set.loader).epoch(0, 0),
        options,
        set.dataset.categories(),
        &set.dataset.source().annotations,
        folder,
    )
}

/// Evaluates trained weights.
pub fn evaluate(args: &EvalArgs, text: &RecipeText) -> Result<(), Failure> {
    let recipe = DetectRecipe::from_text(text, "eval")?;
    let val = recipe.data.open_val()?;
    check_classes(&recipe.model, &val)?;
    let model = Model::restore(&recipe, &args.weights)?;
    let out = match (&args.out, &model.weights.run) {
        (Some(out), _) => out.clone(),
        (None, Some(run)) => run.join("eval"),
        (None, None) => PathBuf::from("runs").join(format!("{}_eval", text.name())),
    };
    let options = EvaluateOptions {
        device: model.device,
        precision: recipe.trainer.precision,
        batches: val.loader.batches(),
        label: "evaluate".into(),
        stop: StopFlag::on_signals().context("signal handlers cannot be installed")?,
    };
    let evaluation = match evaluate_set(&model.task, &val, &options, &out) {
        Err(engine::EngineError::Stopped) => {
            return Err(Failure::Interrupted("stopped; nothing was scored".into()));
        }
        other => other?,
    };
    if args.json {
        print_json(&evaluation.scores.report()?.to_json())?;
    } else {
        print_scores(&evaluation)?;
    }
    eprintln!(
        "{} pictures in {:.0} s; results and tables: {}",
        evaluation.pictures,
        evaluation.seconds,
        out.display()
    );
    Ok(())
}

fn print_scores(evaluation: &DetectionEvaluation) -> Result<(), Failure> {
    for note in &evaluation.scores.notes {
        eprintln!("note: {note}");
    }
    for summary in evaluation.scores.summaries()? {
        print_text(&format!("{}:", summary.iou_type.name()))?;
        print_text(&summary)?;
    }
    Ok(())
}

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
    let model = Model::restore(&recipe, &args.weights)?;
    let names = category_names(args, &recipe, &model.weights)?;
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| PathBuf::from("predictions"));
    std::fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let mut answers = Vec::new();
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
            let overlay = overlay_path(&out, path, &answers)?;
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

/// Where a picture's overlay goes: its own name, numbered where two pictures have the same.
fn overlay_path(out: &Path, picture: &Path, before: &[PictureFound]) -> anyhow::Result<PathBuf> {
    let stem = picture
        .file_stem()
        .with_context(|| format!("{} is no file", picture.display()))?
        .to_string_lossy()
        .into_owned();
    let taken = |path: &PathBuf| before.iter().any(|other| other.overlay == *path);
    let mut path = out.join(format!("{stem}.png"));
    let mut number = 2;
    while taken(&path) || path == picture {
        path = out.join(format!("{stem}_{number}.png"));
        number += 1;
    }
    Ok(path)
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

/// A detector with trained weights.
struct Model {
    task: DetectionTask,
    device: Device,
    weights: Weights,
}

impl Model {
    fn restore(recipe: &DetectRecipe, args: &deepmim_cli::WeightsArgs) -> anyhow::Result<Self> {
        let weights = Weights::find(&args.weights, args.dialect, &recipe.init)?;
        let device = prepare(&recipe.run.device, &recipe.trainer)?;
        let vs = nn::VarStore::new(device);
        let decay = recipe.trainer.optimizer.weight_decay();
        let task = DetectionTask::new(&vs, &recipe.model, decay, recipe.test_time)?;
        weights.restore(&vs, &recipe.init)?;
        Ok(Self {
            task,
            device,
            weights,
        })
    }
}

fn check_classes(model: &DetectorConfig, set: &LoadedSet<DetectionDataset>) -> anyhow::Result<()> {
    let found = set.dataset.categories().len();
    if found != model.classes {
        bail!(
            "{} has {found} categories and the recipe's model.classes is {}: correct the file (deepmim data check) or add --set model.classes={found}",
            set.dataset.source().annotations.display(),
            model.classes
        );
    }
    Ok(())
}

fn same_categories(
    train: &LoadedSet<DetectionDataset>,
    val: &LoadedSet<DetectionDataset>,
) -> anyhow::Result<()> {
    let (ours, theirs) = (train.dataset.categories(), val.dataset.categories());
    let differ =
        |(a, b): (&DetectionCategory, &DetectionCategory)| a.id != b.id || a.name != b.name;
    if let Some(at) = ours.iter().zip(theirs).position(differ) {
        bail!(
            "category {} is {} in {} and {} in {}: the two must list the same categories (deepmim data check says more)",
            ours[at].id,
            ours[at].name,
            train.dataset.source().annotations.display(),
            theirs[at].name,
            val.dataset.source().annotations.display()
        );
    }
    if ours.len() != theirs.len() {
        bail!(
            "{} has {} categories and {} has {}: the two must list the same ones",
            train.dataset.source().annotations.display(),
            ours.len(),
            val.dataset.source().annotations.display(),
            theirs.len()
        );
    }
    Ok(())
}

fn write_categories(folder: &Path, categories: &[DetectionCategory]) -> anyhow::Result<()> {
    let listed: Vec<Category> = categories
        .iter()
        .map(|category| Category {
            id: id_value(&category.id),
            name: category.name.clone(),
        })
        .collect();
    Ok(eval::write_json(&folder.join(CATEGORIES), &listed)?)
}

fn id_value(id: &Id) -> serde_json::Value {
    match id {
        Id::Integer(number) => (*number).into(),
        Id::Real(bits) => f64::from_bits(*bits).into(),
        Id::Text(text) => text.as_ref().into(),
    }
}

/// Names from `--classes` (one a line), from the run, or from the data set where it is there; else
/// numbers.
fn category_names(
    args: &PredictArgs,
    recipe: &DetectRecipe,
    weights: &Weights,
) -> anyhow::Result<Vec<String>> {
    let wanted = recipe.model.classes;
    let in_run = weights
        .run
        .as_ref()
        .map(|run| run.join(CATEGORIES))
        .filter(|path| path.is_file());
    let read = |path: &Path| {
        std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
    };
    let (names, place) = match (&args.classes, in_run) {
        (Some(path), _) => {
            let names = read(path)?.lines().map(str::to_owned).collect();
            (names, path.clone())
        }
        (None, Some(path)) => {
            let listed: Vec<Category> = serde_json::from_str(&read(&path)?)
                .with_context(|| format!("{} is no list of categories", path.display()))?;
            let names = listed.into_iter().map(|category| category.name).collect();
            (names, path)
        }
        (None, None) => {
            let source = recipe.data.val.under(&recipe.data.root);
            let Ok(set) = recipe.data.open_val() else {
                return Ok((0..wanted).map(|class| format!("class {class}")).collect());
            };
            let categories = set.dataset.categories();
            let names: Vec<String> = categories.iter().map(|c| c.name.clone()).collect();
            (names, source.annotations)
        }
    };
    if names.len() != wanted {
        bail!(
            "{} names {} categories and the model has {wanted}: give one name for each",
            place.display(),
            names.len()
        );
    }
    Ok(names)
}

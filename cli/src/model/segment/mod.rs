//! `deepmim finetune`, `eval` and `predict` for recipes of segmentation.

mod predict;

use std::path::Path;

use anyhow::{Context, bail};
use data::{Dataset, LoadedSet, SegmentationDataset};
use deepmim_cli::{
    EvalArgs, Failure, FinetuneArgs, RecipeText, RunArgs, WeightsArgs, print_json, print_text,
};
use engine::{BatchSource, EvaluateOptions, TaskError, Trainer};
use leaderboard::Kind;
use segmentation::{
    GroundTruthLabels, SUBMISSION_FOLDER, SegmentationEvaluation, SegmentationTask,
    evaluate_segmentor,
};
use tch::{Device, nn};

pub use predict::predict;

use crate::estimate::{estimate, estimate_evaluation};
use crate::examples::RegionExamples;
use crate::experiment::SegmentRecipe;
use crate::outputs::evaluation_folder;
use crate::record::{Setting, forget, labels_truth};
use crate::session::{Batches, Session, ended, evaluate_options, goes_on, prepare};
use crate::weights::Weights;

/// File of a run with the class names, one a line.
const CLASSES: &str = "classes.txt";

/// Fine-tunes as the command line says.
pub fn finetune(args: &FinetuneArgs, text: &RecipeText) -> Result<(), Failure> {
    let recipe = SegmentRecipe::from_text(text, "finetune")?;
    let init = Weights::initial(args, &recipe.init)?;
    train(&recipe, &text.name(), init.as_ref(), &args.run)
}

/// Trains in one run folder, evaluates, leaves the label maps in it and prints the scores.
fn train(
    recipe: &SegmentRecipe,
    name: &str,
    init: Option<&Weights>,
    args: &RunArgs,
) -> Result<(), Failure> {
    let config = &recipe.trainer;
    let train = recipe.data.open_train(config.batch_size, config.seed)?;
    let val = recipe.data.open_val()?;
    check_classes(recipe, &train)?;

    let device = prepare(&recipe.run.device, config)?;
    let vs = nn::VarStore::new(device);
    let decay = config.optimizer.weight_decay();
    let task = SegmentationTask::new(&vs, &recipe.model, decay, recipe.test_time)?;
    if let Some(weights) = init
        && !goes_on(args, name)?
    {
        eprint!("{}", weights.initialise_segmentor(&vs, &recipe.init)?);
    }
    let options = evaluate_options(device, config, &val)?;
    if args.estimate {
        return estimate(&vs, &task, config, &train, Some((&val, &options)));
    }
    let session = Session::open(args, name, device, recipe, config, init)?;
    let folder = session.run.path().to_owned();
    write_classes(&folder, train.dataset.class_names())?;
    for note in train.dataset.notes().iter().chain(val.dataset.notes()) {
        eprintln!("note: {note}");
    }
    let mut trainer = Trainer::new(&vs, &task, config.clone(), session.run, session.stop)?;
    let setting = Setting::new(recipe, device, config.seed, None)?;
    let out = folder.join("eval");
    let mut last = None;
    let outcome = trainer.fit(&task, &Batches(&train.loader), |point, task| {
        let recorded = point.last.then_some(&setting);
        let evaluation = evaluate_set(task, recipe, &val, &options, &out, false, recorded)?;
        let rows = evaluation.meter.report().rows().to_vec();
        last = Some(evaluation);
        Ok::<_, TaskError>(rows)
    })?;
    ended(outcome, &folder)?;
    match last {
        Some(evaluation) => Ok(print_text(&evaluation.meter.report())?),
        None => Err(anyhow::anyhow!(
            "the run in {} is finished already; evaluate it with deepmim eval",
            folder.display()
        )
        .into()),
    }
}

/// Refuses a data set of another number of classes than the model's.
fn check_classes(
    recipe: &SegmentRecipe,
    set: &LoadedSet<SegmentationDataset>,
) -> anyhow::Result<()> {
    let found = set.dataset.class_names().len();
    let wanted = recipe.model.classes;
    if found != wanted {
        bail!(
            "data.classes gives {found} classes and model.classes is {wanted}: correct one of the two, e.g. with --set model.classes={found}"
        );
    }
    Ok(())
}

fn write_classes(folder: &Path, names: &[String]) -> anyhow::Result<()> {
    let path = folder.join(CLASSES);
    let text: String = names.iter().map(|name| format!("{name}\n")).collect();
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Evaluates into a folder; what is `recorded` can be compared later, and has pictures to look at.
fn evaluate_set(
    task: &SegmentationTask,
    recipe: &SegmentRecipe,
    set: &LoadedSet<SegmentationDataset>,
    options: &EvaluateOptions,
    folder: &Path,
    submission: bool,
    recorded: Option<&Setting>,
) -> Result<SegmentationEvaluation, TaskError> {
    forget(folder)?;
    let mut examples = match recorded {
        Some(_) => Some(RegionExamples::start(
            &set.dataset,
            set.dataset.len(),
            folder,
        )?),
        None => None,
    };
    let names = set.dataset.class_names();
    let pictures = 0..set.dataset.len();
    let files: Vec<&str> = pictures.map(|at| set.dataset.label_name(at)).collect();
    let truth = GroundTruthLabels {
        folder: &set.dataset.source().labels,
        files: &files,
        spec: recipe.data.label_spec(names.len())?,
        names,
    };
    let batches = Batches(&set.loader);
    let evaluation = evaluate_segmentor(
        task,
        batches.epoch(0, 0),
        options,
        truth,
        folder,
        submission,
        &mut |found| match &mut examples {
            Some(examples) => examples.observe(found),
            None => Ok(()),
        },
    )?;
    if let (Some(setting), Some(examples)) = (recorded, examples) {
        let recorded = labels_truth(truth.folder, &files, names, &truth.spec)?;
        let examples = examples.finish();
        setting.record(
            folder,
            Kind::Segment,
            evaluation.pictures,
            recorded,
            examples,
        )?;
    }
    Ok(evaluation)
}

/// Evaluates trained weights.
pub fn evaluate(args: &EvalArgs, text: &RecipeText) -> Result<(), Failure> {
    let recipe = SegmentRecipe::from_text(text, "eval")?;
    let val = recipe.data.open_val()?;
    check_classes(&recipe, &val)?;
    let model = Model::restore(&recipe, &args.weights)?;
    let out = evaluation_folder(args, model.weights.run.as_deref(), &text.name());
    let options = evaluate_options(model.device, &recipe.trainer, &val)?;
    if args.estimate {
        return estimate_evaluation(&model.task, &val, &options);
    }
    let seed = recipe.trainer.seed;
    let setting = Setting::new(&recipe, model.device, seed, Some(&model.weights))?;
    let submission = args.submission;
    let recorded = Some(&setting);
    let evaluation = evaluate_set(
        &model.task,
        &recipe,
        &val,
        &options,
        &out,
        submission,
        recorded,
    );
    let evaluation = match evaluation {
        Err(_) if options.stop.raised() => {
            return Err(Failure::Interrupted("stopped; nothing was scored".into()));
        }
        other => other.map_err(|error| anyhow::anyhow!("{error}"))?,
    };
    let report = evaluation.meter.report();
    if args.json {
        print_json(&report.to_json())?;
    } else {
        print_text(&report)?;
    }
    eprintln!(
        "{} pictures in {:.0} s; label maps and tables: {}",
        evaluation.pictures,
        evaluation.seconds,
        out.display()
    );
    if args.submission {
        let folder = out.join(SUBMISSION_FOLDER);
        eprintln!("label maps counted from 1: {}", folder.display());
    }
    Ok(())
}

/// A segmentor with trained weights.
struct Model {
    task: SegmentationTask,
    device: Device,
    weights: Weights,
}

impl Model {
    fn restore(recipe: &SegmentRecipe, args: &WeightsArgs) -> anyhow::Result<Self> {
        let weights = Weights::find(&args.weights, args.dialect, &recipe.init)?;
        let device = prepare(&recipe.run.device, &recipe.trainer)?;
        let vs = nn::VarStore::new(device);
        let decay = recipe.trainer.optimizer.weight_decay();
        let task = SegmentationTask::new(&vs, &recipe.model, decay, recipe.test_time)?;
        weights.restore(&vs, &recipe.init)?;
        Ok(Self {
            task,
            device,
            weights,
        })
    }
}

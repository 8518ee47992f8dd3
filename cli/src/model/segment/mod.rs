//! `deepmim finetune`, `eval` and `predict` for recipes of segmentation.

mod predict;

use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, bail};
use data::{Dataset, LoadedSet, SegmentationDataset};
use deepmim_cli::{
    EvalArgs, Failure, FinetuneArgs, RecipeText, RunArgs, WeightsArgs, print_json, print_text,
};
use engine::{BatchSource, EvaluateOptions, Share, TaskError, World};
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
use crate::ranks::{evaluation_shard, print_once, shard, together};
use crate::record::{Setting, forget, labels_truth};
use crate::session::{
    Batches, Session, assist, ended, evaluate_options, evaluation_failed, goes_on, prepare,
};
use crate::weights::Weights;

/// File of a run with the class names, one a line.
const CLASSES: &str = "classes.txt";

/// Fine-tunes as the command line says.
pub fn finetune(world: &Rc<World>, args: &FinetuneArgs, text: &RecipeText) -> Result<(), Failure> {
    let (recipe, init) = together(world, || {
        let recipe = SegmentRecipe::from_text(text, "finetune")?;
        let init = Weights::initial(args, &recipe.init)?;
        Ok((recipe, init))
    })?;
    train(world, &recipe, &text.name(), init.as_ref(), &args.run)
}

/// Trains in one run folder, evaluates, leaves the label maps in it and prints the scores.
fn train(
    world: &Rc<World>,
    recipe: &SegmentRecipe,
    name: &str,
    init: Option<&Weights>,
    args: &RunArgs,
) -> Result<(), Failure> {
    let config = &recipe.trainer;
    let (share, train, val, vs, task) = together(world, || {
        // The statistics of BatchNorm are over the recipe's batch, whoever computes it.
        let share = Share::new(config, world.rank(), world.size(), true)?;
        let train = recipe
            .data
            .open_train(config.batch_size, config.seed, shard(&share))?;
        let val = recipe.data.open_val(evaluation_shard(world))?;
        check_classes(recipe, &train)?;

        let vs = nn::VarStore::new(prepare(&recipe.run.device, config, world)?);
        let decay = config.optimizer.weight_decay();
        let mut task = SegmentationTask::new(&vs, &recipe.model, decay, recipe.test_time)?;
        if world.size() > 1 {
            task.synchronise(world);
        }
        if let Some(weights) = init
            && !goes_on(args, name)?
        {
            print_once(world, &weights.initialise_segmentor(&vs, &recipe.init)?);
        }
        Ok((share, train, val, vs, task))
    })?;
    let device = vs.device();
    let options = evaluate_options(device, config, &val, world)?;
    if args.estimate {
        return estimate(&vs, &task, config, &train, Some((&val, &options)));
    }
    let session = Session::open((world, share), args, name, recipe, init, |folder| {
        for note in train.dataset.notes().iter().chain(val.dataset.notes()) {
            eprintln!("note: {note}");
        }
        write_classes(folder, train.dataset.class_names())
    })?;
    let folder = session.folder.clone();
    let mut trainer = session.trainer(&vs, &task, config)?;
    let setting = Setting::new(recipe, device, config.seed, world.size(), None)?;
    let out = folder.join("eval");
    let mut last = None;
    let outcome = trainer.fit(&task, &Batches(&train.loader), |point, task| {
        if !world.is_main() {
            assist(task, &val, &options)?;
            return Ok(Vec::new());
        }
        let recorded = point.last.then_some(&setting);
        let evaluation = evaluate_set(task, recipe, &val, &options, &out, false, recorded)?;
        let rows = evaluation.meter.report().rows().to_vec();
        last = Some(evaluation);
        Ok::<_, TaskError>(rows)
    })?;
    ended(outcome, &folder)?;
    if !world.is_main() {
        return Ok(());
    }
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
pub fn evaluate(world: &Rc<World>, args: &EvalArgs, text: &RecipeText) -> Result<(), Failure> {
    let (recipe, val, model) = together(world, || {
        let recipe = SegmentRecipe::from_text(text, "eval")?;
        let val = recipe.data.open_val(evaluation_shard(world))?;
        check_classes(&recipe, &val)?;
        let model = Model::restore(&recipe, &args.weights, world)?;
        Ok((recipe, val, model))
    })?;
    let out = evaluation_folder(args, model.weights.run.as_deref(), &text.name());
    let options = evaluate_options(model.device, &recipe.trainer, &val, world)?;
    if args.estimate {
        return estimate_evaluation(&model.task, &val, &options);
    }
    if !world.is_main() {
        return assist(&model.task, &val, &options)
            .map_err(|error| evaluation_failed(error.into()));
    }
    let seed = recipe.trainer.seed;
    let weights = Some(&model.weights);
    let setting = Setting::new(&recipe, model.device, seed, world.size(), weights)?;
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
    let evaluation = evaluation.map_err(evaluation_failed)?;
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
    fn restore(recipe: &SegmentRecipe, args: &WeightsArgs, world: &World) -> anyhow::Result<Self> {
        let weights = Weights::find(&args.weights, args.dialect, &recipe.init)?;
        let device = prepare(&recipe.run.device, &recipe.trainer, world)?;
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

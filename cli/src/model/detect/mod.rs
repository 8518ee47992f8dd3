//! `deepmim finetune`, `eval` and `predict` for recipes of detection.

mod categories;
mod predict;

use std::path::Path;
use std::rc::Rc;

use data::{DetectionDataset, LoadedSet};
use deepmim_cli::{
    EvalArgs, Failure, FinetuneArgs, RecipeText, RunArgs, WeightsArgs, print_json, print_text,
};
use detection::{DetectionEvaluation, DetectionTask, evaluate_detector};
use engine::{BatchSource, EvaluateOptions, Share, TaskError, World};
use leaderboard::Kind;
use tch::{Device, nn};

pub use predict::predict;

use crate::estimate::{estimate, estimate_evaluation};
use crate::examples::ObjectExamples;
use crate::experiment::DetectRecipe;
use crate::outputs::evaluation_folder;
use crate::ranks::{evaluation_shard, print_once, shard, together};
use crate::record::{Setting, annotations_truth, forget};
use crate::session::{
    Batches, Session, assist, ended, evaluate_options, evaluation_failed, goes_on, prepare,
};
use crate::weights::Weights;
use categories::{check_classes, same_categories, write_categories};

/// Fine-tunes as the command line says.
pub fn finetune(world: &Rc<World>, args: &FinetuneArgs, text: &RecipeText) -> Result<(), Failure> {
    let (recipe, init) = together(world, || {
        let recipe = DetectRecipe::from_text(text, "finetune")?;
        let init = Weights::initial(args, &recipe.init)?;
        Ok((recipe, init))
    })?;
    train(world, &recipe, &text.name(), init.as_ref(), &args.run)
}

/// Trains in one run folder, evaluates, leaves the results file in it and prints the scores.
fn train(
    world: &Rc<World>,
    recipe: &DetectRecipe,
    name: &str,
    init: Option<&Weights>,
    args: &RunArgs,
) -> Result<(), Failure> {
    let config = &recipe.trainer;
    let (share, train, val, vs, task) = together(world, || {
        let share = Share::new(config, world.rank(), world.size(), false)?;
        let train = recipe
            .data
            .open_train(config.batch_size, config.seed, shard(&share))?;
        let val = recipe.data.open_val(evaluation_shard(world))?;
        check_classes(&recipe.model, &train)?;
        same_categories(&train, &val)?;

        let vs = nn::VarStore::new(prepare(&recipe.run.device, config, world)?);
        let decay = config.optimizer.weight_decay();
        let task = DetectionTask::new(&vs, &recipe.model, decay, recipe.test_time)?;
        if let Some(weights) = init
            && !goes_on(args, name)?
        {
            print_once(world, &weights.initialise_detector(&vs, &recipe.init)?);
        }
        Ok((share, train, val, vs, task))
    })?;
    let device = vs.device();
    let options = evaluate_options(device, config, &val, world)?;
    if args.estimate {
        return estimate(&vs, &task, config, &train, Some((&val, &options)));
    }
    let session = Session::open((world, share), args, name, recipe, init, |folder| {
        write_categories(folder, train.dataset.categories())
    })?;
    let folder = session.folder.clone();
    let mut trainer = session.trainer(&vs, &task, config)?;
    let setting = Setting::new(recipe, device, config.seed, world.size(), None)?;
    let mut last = None;
    let outcome = trainer.fit(&task, &Batches(&train.loader), |point, task| {
        if !world.is_main() {
            assist(task, &val, &options)?;
            return Ok(Vec::new());
        }
        let recorded = point.last.then_some(&setting);
        let evaluation = evaluate_set(task, &val, &options, &folder.join("eval"), recorded)?;
        let rows = evaluation.scores.report()?.rows().to_vec();
        last = Some(evaluation);
        Ok::<_, TaskError>(rows)
    })?;
    ended(outcome, &folder)?;
    if !world.is_main() {
        return Ok(());
    }
    match last {
        Some(evaluation) => Ok(print_scores(&evaluation)?),
        None => Err(anyhow::anyhow!(
            "the run in {} is finished already; evaluate it with deepmim eval",
            folder.display()
        )
        .into()),
    }
}

/// Evaluates into a folder; what is `recorded` can be compared later, and has pictures to look at.
fn evaluate_set(
    task: &DetectionTask,
    set: &LoadedSet<DetectionDataset>,
    options: &EvaluateOptions,
    folder: &Path,
    recorded: Option<&Setting>,
) -> Result<DetectionEvaluation, TaskError> {
    forget(folder)?;
    let mut examples = match recorded {
        Some(_) => Some(ObjectExamples::start(&set.dataset, folder)?),
        None => None,
    };
    let annotations = &set.dataset.source().annotations;
    let evaluation = evaluate_detector(
        task,
        Batches(&set.loader).epoch(0, 0),
        options,
        set.dataset.categories(),
        annotations,
        folder,
        &mut |found| match &mut examples {
            Some(examples) => examples.observe(found),
            None => Ok(()),
        },
    )?;
    if let (Some(setting), Some(examples)) = (recorded, examples) {
        let truth = annotations_truth(annotations, evaluation.scores.masks.is_some())?;
        let examples = examples.finish(annotations)?;
        setting.record(folder, Kind::Detect, evaluation.pictures, truth, examples)?;
    }
    Ok(evaluation)
}

/// Evaluates trained weights.
pub fn evaluate(world: &Rc<World>, args: &EvalArgs, text: &RecipeText) -> Result<(), Failure> {
    let (recipe, val, model) = together(world, || {
        let recipe = DetectRecipe::from_text(text, "eval")?;
        let val = recipe.data.open_val(evaluation_shard(world))?;
        check_classes(&recipe.model, &val)?;
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
    let evaluation = evaluate_set(&model.task, &val, &options, &out, Some(&setting))
        .map_err(evaluation_failed)?;
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

/// A detector with trained weights.
struct Model {
    task: DetectionTask,
    device: Device,
    weights: Weights,
}

impl Model {
    fn restore(recipe: &DetectRecipe, args: &WeightsArgs, world: &World) -> anyhow::Result<Self> {
        let weights = Weights::find(&args.weights, args.dialect, &recipe.init)?;
        let device = prepare(&recipe.run.device, &recipe.trainer, world)?;
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

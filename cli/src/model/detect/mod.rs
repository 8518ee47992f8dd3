//! `deepmim finetune`, `eval` and `predict` for recipes of detection.

mod categories;
mod predict;

use std::path::Path;

use data::{DetectionDataset, LoadedSet};
use deepmim_cli::{
    EvalArgs, Failure, FinetuneArgs, RecipeText, RunArgs, WeightsArgs, print_json, print_text,
};
use detection::{DetectionEvaluation, DetectionTask, evaluate_detector};
use engine::{BatchSource, EvaluateOptions, TaskError, Trainer};
use leaderboard::Kind;
use tch::{Device, nn};

pub use predict::predict;

use crate::estimate::{estimate, estimate_evaluation};
use crate::examples::ObjectExamples;
use crate::experiment::DetectRecipe;
use crate::outputs::evaluation_folder;
use crate::record::{Setting, annotations_truth, forget};
use crate::session::{Batches, Session, ended, evaluate_options, goes_on, prepare};
use crate::weights::Weights;
use categories::{check_classes, same_categories, write_categories};

/// Fine-tunes as the command line says.
pub fn finetune(args: &FinetuneArgs, text: &RecipeText) -> Result<(), Failure> {
    let recipe = DetectRecipe::from_text(text, "finetune")?;
    let init = Weights::initial(args, &recipe.init)?;
    train(&recipe, &text.name(), init.as_ref(), &args.run)
}

/// Trains in one run folder, evaluates, leaves the results file in it and prints the scores.
fn train(
    recipe: &DetectRecipe,
    name: &str,
    init: Option<&Weights>,
    args: &RunArgs,
) -> Result<(), Failure> {
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
    let options = evaluate_options(device, config, &val)?;
    if args.estimate {
        return estimate(&vs, &task, config, &train, Some((&val, &options)));
    }
    let session = Session::open(args, name, device, recipe, config, init)?;
    let folder = session.run.path().to_owned();
    write_categories(&folder, train.dataset.categories())?;
    let mut trainer = Trainer::new(&vs, &task, config.clone(), session.run, session.stop)?;
    let setting = Setting::new(recipe, device, config.seed, None)?;
    let mut last = None;
    let outcome = trainer.fit(&task, &Batches(&train.loader), |point, task| {
        let recorded = point.last.then_some(&setting);
        let evaluation = evaluate_set(task, &val, &options, &folder.join("eval"), recorded)?;
        let rows = evaluation.scores.report()?.rows().to_vec();
        last = Some(evaluation);
        Ok::<_, TaskError>(rows)
    })?;
    ended(outcome, &folder)?;
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
pub fn evaluate(args: &EvalArgs, text: &RecipeText) -> Result<(), Failure> {
    let recipe = DetectRecipe::from_text(text, "eval")?;
    let val = recipe.data.open_val()?;
    check_classes(&recipe.model, &val)?;
    let model = Model::restore(&recipe, &args.weights)?;
    let out = evaluation_folder(args, model.weights.run.as_deref(), &text.name());
    let options = evaluate_options(model.device, &recipe.trainer, &val)?;
    if args.estimate {
        return estimate_evaluation(&model.task, &val, &options);
    }
    let seed = recipe.trainer.seed;
    let setting = Setting::new(&recipe, model.device, seed, Some(&model.weights))?;
    let evaluation = match evaluate_set(&model.task, &val, &options, &out, Some(&setting)) {
        Err(_) if options.stop.raised() => {
            return Err(Failure::Interrupted("stopped; nothing was scored".into()));
        }
        other => other.map_err(|error| anyhow::anyhow!("{error}"))?,
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

/// A detector with trained weights.
struct Model {
    task: DetectionTask,
    device: Device,
    weights: Weights,
}

impl Model {
    fn restore(recipe: &DetectRecipe, args: &WeightsArgs) -> anyhow::Result<Self> {
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

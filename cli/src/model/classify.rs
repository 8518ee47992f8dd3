//! `deepmim finetune`, `eval` and `predict`.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, bail};
use classification::{ClassificationTask, Evaluation, EvaluationFiles};
use data::{
    Class, ClassificationSample, Dataset, LoadedSet, Orientation, Shard, Transform, decode_file,
    read_classes,
};
use deepmim_cli::{
    EvalArgs, Failure, FinetuneArgs, PredictArgs, RecipeText, RunArgs, print_json, print_text,
};
use engine::{BatchSource, EvaluateOptions, Share, StepContext, Task, TaskError, World};
use leaderboard::Kind;
use tch::{Device, nn};

use crate::estimate::{estimate, estimate_evaluation};
use crate::examples::ClassExamples;
use crate::experiment::ClassifyRecipe;
use crate::outputs::evaluation_folder;
use crate::ranks::{evaluation_shard, print_once, shard, together};
use crate::record::{Setting, classes_truth, forget};
use crate::session::{
    Batches, Session, assist, ended, evaluate_options, evaluation_failed, goes_on, prepare,
};
use crate::weights::Weights;

/// File of a run with one class name a line, in class order.
const CLASSES: &str = "classes.txt";

/// Classes that `predict` names per picture.
const DEFAULT_TOP: usize = 5;

/// Fine-tunes or probes as the command line says.
pub fn finetune(world: &Rc<World>, args: &FinetuneArgs, text: &RecipeText) -> Result<(), Failure> {
    let (recipe, init) = together(world, || {
        let recipe = ClassifyRecipe::from_text(text, "finetune")?;
        let init = Weights::initial(args, &recipe.init)?;
        Ok((recipe, init))
    })?;
    train(world, &recipe, &text.name(), init.as_ref(), &args.run)
}

/// Trains in one run folder, evaluates, writes the predictions into it and prints the scores.
fn train(
    world: &Rc<World>,
    recipe: &ClassifyRecipe,
    name: &str,
    init: Option<&Weights>,
    args: &RunArgs,
) -> Result<(), Failure> {
    let config = &recipe.trainer;
    let (share, train, val, names, vs, task) = together(world, || {
        let share = Share::new(config, world.rank(), world.size(), false)?;
        let train = recipe
            .data
            .open_train(config.batch_size, config.seed, shard(&share))?;
        let val = recipe.data.open_val(evaluation_shard(world))?;
        check_classes(recipe, &train, "training")?;
        check_classes(recipe, &val, "validation")?;
        let names = same_classes(&train, &val)?;

        let vs = nn::VarStore::new(prepare(&recipe.run.device, config, world)?);
        let task = ClassificationTask::new(&vs, &recipe.model, config.optimizer.weight_decay())?;
        if let Some(weights) = init
            && !goes_on(args, name)?
        {
            let told = weights.initialise(&vs, &recipe.init)?;
            print_once(world, &told);
        }
        Ok((share, train, val, names, vs, task))
    })?;
    let device = vs.device();
    let options = evaluate_options(device, config, &val, world)?;
    if args.estimate {
        return estimate(&vs, &task, config, &train, Some((&val, &options)));
    }
    let session = Session::open((world, share), args, name, recipe, init, |folder| {
        write_classes(folder, train.dataset.classes())
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
        // Predictions of the end are what a comparison reads; earlier ones are only numbers.
        let evaluation = if point.last {
            Files::new(&folder.join("eval"))?.evaluate(task, &val, &options, &names, &setting)?
        } else {
            let source = Batches(&val.loader);
            let none = EvaluationFiles::default();
            classification::evaluate(task, source.epoch(0, 0), &options, &none, &mut |_| Ok(()))?
        };
        let rows = evaluation.report().rows().to_vec();
        last = Some(evaluation);
        Ok(rows)
    })?;
    ended(outcome, &folder)?;
    if !world.is_main() {
        return Ok(());
    }
    match last {
        Some(evaluation) => Ok(print_text(&evaluation.report())?),
        None => Err(anyhow::anyhow!(
            "the run in {} is finished already; evaluate it with deepmim eval",
            folder.display()
        )
        .into()),
    }
}

/// Evaluates trained weights.
pub fn evaluate(world: &Rc<World>, args: &EvalArgs, text: &RecipeText) -> Result<(), Failure> {
    let (recipe, val, model) = together(world, || {
        let recipe = ClassifyRecipe::from_text(text, "eval")?;
        let val = recipe.data.open_val(evaluation_shard(world))?;
        check_classes(&recipe, &val, "validation")?;
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
    let files = Files::new(&out)?;
    let names = class_list(val.dataset.classes());
    let seed = recipe.trainer.seed;
    let weights = Some(&model.weights);
    let setting = Setting::new(&recipe, model.device, seed, world.size(), weights)?;
    let evaluation = files
        .evaluate(&model.task, &val, &options, &names, &setting)
        .map_err(evaluation_failed)?;
    let report = evaluation.report();
    if args.json {
        print_json(&report.to_json())?
    } else {
        print_text(&report)?
    }
    eprintln!("predictions and classes: {}", out.display());
    Ok(())
}

/// Names what is on pictures.
pub fn predict(args: &PredictArgs, text: &RecipeText) -> Result<(), Failure> {
    let recipe = ClassifyRecipe::from_text(text, "predict")?;
    if args.out.is_some() {
        return Err(anyhow::anyhow!(
            "--out is for recipes with task = \"detect\" or \"segment\": names of classes are printed, no picture is drawn"
        )
        .into());
    }
    let model = Model::restore(&recipe, &args.weights, &World::alone())?;
    let names = class_names(args, &recipe, &model.weights)?;
    let transform = Transform::eval(&recipe.data.eval_transform)?;
    let _no_grad = tch::no_grad_guard();
    let mut answers = Vec::new();
    for path in &args.images {
        let picture = path.display().to_string();
        // As the validation pictures are read: orientation tags are not applied.
        let image = decode_file(path, Orientation::Ignore)?;
        let sample = ClassificationSample {
            image: transform.apply(&image, 0),
            size: transform.size(),
            label: -1,
            name: picture.clone(),
        };
        let task_failed = |error: engine::TaskError| anyhow::anyhow!("{picture}: {error}");
        let batch = model
            .task
            .collate(vec![sample], &StepContext::evaluation(), model.device)
            .map_err(task_failed)?;
        for prediction in model.task.predict(&batch).map_err(task_failed)? {
            answers.push(prediction.top(args.top.unwrap_or(DEFAULT_TOP), names.as_deref())?);
        }
    }
    if args.json {
        print_json(&answers)?;
        return Ok(());
    }
    for answer in &answers {
        print_text(&answer.picture)?;
        for class in &answer.top {
            let name = class
                .name
                .clone()
                .unwrap_or_else(|| format!("class {}", class.class));
            print_text(&format!("  {:5.1} %  {name}", 100.0 * class.probability))?;
        }
    }
    Ok(())
}

/// A classifier with trained weights.
struct Model {
    task: ClassificationTask,
    device: Device,
    weights: Weights,
}

impl Model {
    fn restore(
        recipe: &ClassifyRecipe,
        args: &deepmim_cli::WeightsArgs,
        world: &World,
    ) -> anyhow::Result<Self> {
        let weights = Weights::find(&args.weights, args.dialect, &recipe.init)?;
        let device = prepare(&recipe.run.device, &recipe.trainer, world)?;
        let vs = nn::VarStore::new(device);
        let task =
            ClassificationTask::new(&vs, &recipe.model, recipe.trainer.optimizer.weight_decay())?;
        weights.restore(&vs, &recipe.init)?;
        Ok(Self {
            task,
            device,
            weights,
        })
    }
}

/// Files of one evaluation.
struct Files {
    folder: PathBuf,
    predictions: PathBuf,
    per_class: PathBuf,
    report: PathBuf,
}

impl Files {
    fn new(folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self {
            folder: folder.to_owned(),
            predictions: folder.join("predictions.csv"),
            per_class: folder.join("per_class.csv"),
            report: folder.join("summary.json"),
        })
    }

    /// Evaluates and writes everything that a comparison reads.
    fn evaluate(
        &self,
        task: &ClassificationTask,
        val: &LoadedSet,
        options: &EvaluateOptions,
        class_names: &[String],
        setting: &Setting,
    ) -> Result<Evaluation, TaskError> {
        forget(&self.folder)?;
        let pictures = val.dataset.len();
        let mut examples = ClassExamples::start(&val.dataset, class_names, pictures, &self.folder)?;
        let wanted = EvaluationFiles {
            predictions: Some(&self.predictions),
            per_class: Some(&self.per_class),
            class_names,
        };
        let source = Batches(&val.loader);
        let evaluation = classification::evaluate(
            task,
            source.epoch(0, 0),
            options,
            &wanted,
            &mut |prediction| examples.observe(prediction),
        )?;
        evaluation.report().write_json(&self.report)?;
        let truth = classes_truth(&self.predictions, class_names)?;
        let samples = evaluation.samples;
        setting.record(
            &self.folder,
            Kind::Classify,
            samples,
            truth,
            examples.finish(),
        )?;
        Ok(evaluation)
    }
}

fn check_classes(recipe: &ClassifyRecipe, set: &LoadedSet, which: &str) -> anyhow::Result<()> {
    let found = set.dataset.classes().len();
    if found as i64 != recipe.model.classes {
        bail!(
            "the {which} set in {} has {found} classes and the recipe's model.classes is {}: correct the folder (deepmim data check) or add --set model.classes={found}",
            recipe.data.root.display(),
            recipe.model.classes
        );
    }
    Ok(())
}

/// The class names, once both sets are known to have the same classes in the same order.
fn same_classes(train: &LoadedSet, val: &LoadedSet) -> anyhow::Result<Vec<String>> {
    let (ours, theirs) = (train.dataset.classes(), val.dataset.classes());
    if let Some(at) = (0..ours.len().min(theirs.len())).find(|at| ours[*at].key != theirs[*at].key)
    {
        bail!(
            "class {at} is {} in the training set and {} in the validation set: the two must have the same classes in the same order (deepmim data check says more)",
            ours[at].key,
            theirs[at].key
        );
    }
    Ok(class_list(ours))
}

fn class_list(classes: &[Class]) -> Vec<String> {
    classes.iter().map(|class| class.name.clone()).collect()
}

fn write_classes(folder: &Path, classes: &[Class]) -> anyhow::Result<()> {
    let path = folder.join(CLASSES);
    let text: String = classes
        .iter()
        .map(|class| format!("{}\t{}\n", class.key, class.name))
        .collect();
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Names from `--classes`, from the run, or from the data set where it is there; else none.
fn class_names(
    args: &PredictArgs,
    recipe: &ClassifyRecipe,
    weights: &Weights,
) -> anyhow::Result<Option<Vec<String>>> {
    let in_run = weights
        .run
        .as_ref()
        .map(|run| run.join(CLASSES))
        .filter(|path| path.is_file());
    if let Some(path) = args.classes.clone().or(in_run) {
        let names = class_list(&read_classes(&path)?);
        if names.len() as i64 != recipe.model.classes {
            bail!(
                "{} has {} lines and the model {} classes: give one name a line",
                path.display(),
                names.len(),
                recipe.model.classes
            );
        }
        return Ok(Some(names));
    }
    let from_data = recipe
        .data
        .open_val(Shard::WHOLE)
        .ok()
        .map(|set| class_list(set.dataset.classes()));
    Ok(from_data.filter(|names| names.len() as i64 == recipe.model.classes))
}

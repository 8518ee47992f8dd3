//! What every training command does around its task: device, run folder, summary, how it ended.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::Context;
use data::{Dataset, LoadedSet, Loader};
use deepmim_cli::{Failure, RecipeArgs, RecipeText, RunArgs, TestTimeArgs};
use engine::{
    BatchSource, Checkpoint, EngineError, EvaluateOptions, Existing, Outcome, RunDir, SampleBatch,
    Share, StopFlag, Task, TaskError, Trainer, TrainerConfig, World,
};
use leaderboard::Start;
use serde::Serialize;
use tch::{Device, nn};

use crate::device;
use crate::experiment::TaskKind;
use crate::ranks::{as_failure, together};
use crate::weights::Weights;

/// Reads a recipe and applies what the command line replaces.
pub fn recipe(args: &RecipeArgs) -> anyhow::Result<RecipeText> {
    let mut text = RecipeText::read(&args.config)?;
    replace(&mut text, args)?;
    Ok(text)
}

/// Applies `--data`, `--device` and `--set`, in this order.
pub fn replace(text: &mut RecipeText, args: &RecipeArgs) -> anyhow::Result<()> {
    if let Some(root) = &args.data {
        text.set_value("data.root", path_value(root)?)?;
    }
    if let Some(device) = &args.device {
        text.set_value("run.device", device.as_str().into())?;
    }
    for assignment in &args.overrides {
        text.set(assignment)?;
    }
    Ok(())
}

/// Applies the options of detection and segmentation in evaluation and prediction; other recipes have no
/// such keys.
pub fn test_time(text: &mut RecipeText, args: &TestTimeArgs) -> anyhow::Result<()> {
    let kind = TaskKind::of(text);
    if (args.score_threshold.is_some() || args.max_detections.is_some())
        && kind != Some(TaskKind::Detect)
    {
        anyhow::bail!(
            "--score-threshold and --max-detections are for recipes with task = \"detect\""
        );
    }
    if args.flip && !matches!(kind, Some(TaskKind::Detect | TaskKind::Segment)) {
        anyhow::bail!("--flip is for recipes with task = \"detect\" or \"segment\"");
    }
    if args.flip {
        text.set_value("test_time.flip", true.into())?;
    }
    if let Some(threshold) = args.score_threshold {
        text.set_value("model.roi.score_threshold", threshold.into())?;
    }
    if let Some(most) = args.max_detections {
        text.set_value("model.roi.max_detections", i64::from(most).into())?;
    }
    Ok(())
}

/// A path as a recipe's value.
pub fn path_value(path: &std::path::Path) -> anyhow::Result<toml::Value> {
    let text = path
        .to_str()
        .with_context(|| format!("{} is not UTF-8, so no recipe can hold it", path.display()))?;
    Ok(text.into())
}

/// How a validation set is evaluated, in training and by `deepmim eval`.
pub fn evaluate_options<D: Dataset + 'static>(
    device: Device,
    trainer: &TrainerConfig,
    val: &LoadedSet<D>,
    world: &Rc<World>,
) -> anyhow::Result<EvaluateOptions> {
    Ok(EvaluateOptions {
        device,
        precision: trainer.precision,
        batches: val.loader.batches(),
        label: "evaluate".into(),
        stop: StopFlag::on_signals().context("signal handlers cannot be installed")?,
        world: world.clone(),
    })
}

/// Computes this process's part of an evaluation that rank 0 writes down and scores.
pub fn assist<D: Dataset + 'static, T: Task<Sample = D::Sample>>(
    task: &T,
    val: &LoadedSet<D>,
    options: &EvaluateOptions,
) -> Result<(), EngineError> {
    let batches = Batches(&val.loader);
    engine::evaluate(task, batches.epoch(0, 0), options, |_| Ok(()))?;
    Ok(())
}

/// How an evaluation ended, when it did not end well.
pub fn evaluation_failed(error: TaskError) -> Failure {
    if EngineError::is_stop(&error) {
        return Failure::Interrupted("stopped; nothing was scored".into());
    }
    as_failure(error)
}

/// A run about to start.
pub struct Session {
    /// The run's folder; locked by rank 0, the others leave it alone.
    pub folder: PathBuf,
    run: Option<RunDir>,
    stop: StopFlag,
    world: Rc<World>,
    share: Share,
}

/// Device, threads and random seed of a training, an evaluation or a prediction; nothing is written yet,
/// so that a model that cannot be built or initialised leaves no run behind.
pub fn prepare(
    device_name: &str,
    trainer: &TrainerConfig,
    world: &World,
) -> anyhow::Result<Device> {
    let device = device::of_process(device_name, world)?;
    if let Some(threads) = trainer.threads.and_then(|n| i32::try_from(n).ok()) {
        tch::set_num_threads(threads);
    }
    tch::manual_seed(trainer.seed as i64);
    Ok(device)
}

/// The run's folder: `--out`, or `runs/NAME`.
pub fn folder(args: &RunArgs, name: &str) -> PathBuf {
    args.out
        .clone()
        .unwrap_or_else(|| PathBuf::from("runs").join(name))
}

/// Whether `--resume` will find a checkpoint to go on from.
pub fn goes_on(args: &RunArgs, name: &str) -> anyhow::Result<bool> {
    let checkpoints = folder(args, name).join("checkpoints");
    Ok(args.resume && checkpoints.is_dir() && Checkpoint::latest(&checkpoints)?.0.is_some())
}

impl Session {
    /// Opens the run's folder and writes the resolved recipe and what the training starts from into it; rank
    /// 0 does, and the others wait. `more` writes what else belongs there.
    pub fn open(
        (world, share): (&Rc<World>, Share),
        args: &RunArgs,
        name: &str,
        recipe: &impl Serialize,
        init: Option<&Weights>,
        more: impl FnOnce(&Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let stop = StopFlag::on_signals().context("signal handlers cannot be installed")?;
        let run = together(world, || {
            if !world.is_main() {
                return Ok(None);
            }
            let run = open_run(args, name, recipe, init)?;
            more(run.path())?;
            Ok(Some(run))
        })?;
        Ok(Self {
            folder: folder(args, name),
            run,
            stop,
            world: world.clone(),
            share,
        })
    }

    /// The trainer of the run.
    pub fn trainer<T: Task>(
        self,
        vs: &nn::VarStore,
        task: &T,
        config: &TrainerConfig,
    ) -> Result<Trainer, EngineError> {
        let Self {
            run,
            stop,
            world,
            share,
            ..
        } = self;
        Trainer::of_many(vs, task, config.clone(), run, stop, world, share)
    }
}

fn open_run(
    args: &RunArgs,
    name: &str,
    recipe: &impl Serialize,
    init: Option<&Weights>,
) -> anyhow::Result<RunDir> {
    let existing = match (args.resume, args.overwrite) {
        (true, _) => Existing::Resume,
        (_, true) => Existing::Overwrite,
        _ => Existing::Refuse,
    };
    let resolved = toml::to_string_pretty(recipe).context("the recipe cannot be written out")?;
    let run = RunDir::open(&folder(args, name), existing, &resolved)?;
    let start = Start {
        weights: init.map(Weights::record).transpose()?,
    };
    let known = if goes_on(args, name)? {
        Start::read(run.path())?
    } else {
        None
    };
    match known {
        Some(known) => same_start(&known, &start, run.path())?,
        None => start.write(run.path())?,
    }
    Ok(run)
}

/// Refuses to go on with a run from other weights than it started from. Weights that moved are the same.
fn same_start(known: &Start, now: &Start, run: &std::path::Path) -> anyhow::Result<()> {
    let Some(given) = &now.weights else {
        return Ok(());
    };
    if known
        .weights
        .as_ref()
        .is_some_and(|weights| weights.sha256 == given.sha256)
    {
        return Ok(());
    }
    let started = match &known.weights {
        Some(weights) => weights.file.display().to_string(),
        None => "random weights".to_owned(),
    };
    anyhow::bail!(
        "the run in {} started from {started}, and {} holds other weights: leave --init out, or start a new run",
        run.display(),
        given.file.display()
    )
}

/// A loader as the trainer takes it.
pub struct Batches<'a, D: Dataset>(pub &'a Loader<D>);

impl<D: Dataset + 'static> BatchSource for Batches<'_, D> {
    type Sample = D::Sample;

    fn batches(&self) -> usize {
        self.0.batches()
    }

    fn epoch(
        &self,
        epoch: u64,
        skip_batches: usize,
    ) -> Box<dyn Iterator<Item = SampleBatch<D::Sample>> + '_> {
        Box::new(
            self.0
                .epoch(epoch, skip_batches)
                .map(|batch| batch.map_err(Into::into)),
        )
    }
}

/// The command's answer to how a training ended.
pub fn ended(outcome: Outcome, run: &std::path::Path) -> Result<(), Failure> {
    match outcome {
        Outcome::Finished => Ok(()),
        Outcome::Interrupted => Err(Failure::Interrupted(format!(
            "stopped with a checkpoint in {}; go on with the same command and --resume",
            run.display()
        ))),
    }
}

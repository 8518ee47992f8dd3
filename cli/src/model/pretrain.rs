//! `deepmim pretrain`.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::Context;
use data::Dataset;
use deepmim_cli::{Failure, PretrainArgs, RunArgs, print_text};
use engine::{Checkpoint, Share, World};
use pretraining::PretrainTask;
use tch::nn;

use crate::estimate::estimate;
use crate::experiment::PretrainRecipe;
use crate::probe::Probe;
use crate::ranks::{evaluation_shard, shard, together};
use crate::session::{Batches, Session, ended, path_value, prepare, recipe};

/// Pre-trains as the command line says.
pub fn run(world: &Rc<World>, args: &PretrainArgs) -> Result<(), Failure> {
    let (recipe, name) = together(world, || {
        let mut text = recipe(&args.recipe)?;
        if let Some(teacher) = &args.teacher {
            text.set_value("model.target.weights", path_value(&weights_file(teacher)?)?)?;
        }
        Ok((PretrainRecipe::from_text(&text)?, text.name()))
    })?;
    train(world, &recipe, &name, &args.run)
}

/// The file that `--teacher` means: itself, or the last weights of a run.
fn weights_file(teacher: &Path) -> anyhow::Result<PathBuf> {
    if !teacher.is_dir() {
        return Ok(teacher.to_owned());
    }
    let (newest, _) = Checkpoint::latest(&teacher.join("checkpoints"))?;
    let newest = newest.with_context(|| {
        format!(
            "--teacher {}: this folder holds no run with a checkpoint",
            teacher.display()
        )
    })?;
    Ok(newest.weights())
}

/// Pre-trains in one run folder.
fn train(
    world: &Rc<World>,
    recipe: &PretrainRecipe,
    name: &str,
    args: &RunArgs,
) -> Result<(), Failure> {
    let config = &recipe.trainer;
    // Data and model first: what is wrong with them is found before a run's folder is made.
    let (share, set, vs, task, probe) = together(world, || {
        let share = Share::new(config, world.rank(), world.size(), false)?;
        let set = recipe
            .data
            .open(config.batch_size, config.seed, shard(&share))?;
        let vs = nn::VarStore::new(prepare(&recipe.run.device, config, world)?);
        let task = PretrainTask::new(&vs, &recipe.model, config.optimizer.weight_decay())?;
        let probe = recipe
            .probe
            .as_ref()
            .map(|probe| {
                let sets = probe.open(&recipe.data, evaluation_shard(world))?;
                Probe::new(probe, sets, vs.device(), config, world)
            })
            .transpose()?;
        Ok((share, set, vs, task, probe))
    })?;
    if args.estimate {
        return estimate(&vs, &task, config, &set, None);
    }
    let session = Session::open((world, share), args, name, recipe, None, |_| Ok(()))?;
    let folder = session.folder.clone();
    let mut trainer = session.trainer(&vs, &task, config)?;
    let outcome = trainer.fit(&task, &Batches(&set.loader), |_, task| match &probe {
        Some(probe) => probe.rows(task),
        None => Ok(Vec::new()),
    })?;
    ended(outcome, &folder)?;
    if !world.is_main() {
        return Ok(());
    }
    print_text(&format!(
        "pre-trained for {} steps on {} pictures; the run is {}",
        trainer.step(),
        set.dataset.len(),
        folder.display()
    ))?;
    Ok(())
}

//! `deepmim pretrain`.

use data::Dataset;
use deepmim_cli::{Failure, PretrainArgs, RunArgs, print_text};
use engine::Trainer;
use pretraining::PretrainTask;
use tch::nn;

use crate::estimate::estimate;
use crate::experiment::PretrainRecipe;
use crate::session::{Batches, Session, ended, path_value, prepare, recipe};

/// Pre-trains as the command line says.
pub fn run(args: &PretrainArgs) -> Result<(), Failure> {
    let mut text = recipe(&args.recipe)?;
    if let Some(teacher) = &args.teacher {
        text.set_value("model.target.weights", path_value(teacher)?)?;
    }
    train(&PretrainRecipe::from_text(&text)?, &text.name(), &args.run)
}

/// Pre-trains in one run folder.
pub fn train(recipe: &PretrainRecipe, name: &str, args: &RunArgs) -> Result<(), Failure> {
    let config = &recipe.trainer;
    // Data and model first: what is wrong with them is found before a run's folder is made.
    let set = recipe.data.open(config.batch_size, config.seed)?;
    let device = prepare(&recipe.run.device, config)?;
    let vs = nn::VarStore::new(device);
    let task = PretrainTask::new(&vs.root(), &recipe.model, config.optimizer.weight_decay())?;
    if args.estimate {
        return estimate(&vs, &task, config, &set, None);
    }
    let session = Session::open(args, name, device, recipe, config, None)?;
    let folder = session.run.path().to_owned();
    let mut trainer = Trainer::new(&vs, &task, config.clone(), session.run, session.stop)?;
    let outcome = trainer.fit(&task, &Batches(&set.loader), |_, _| Ok(Vec::new()))?;
    ended(outcome, &folder)?;
    print_text(&format!(
        "pre-trained for {} steps on {} pictures; the run is {}",
        trainer.step(),
        set.dataset.len(),
        folder.display()
    ))?;
    Ok(())
}

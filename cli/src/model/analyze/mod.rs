//! `deepmim analyze`: what the layers of checkpoints have learnt.
//!
//! One pass over the pictures that are looked at, one over those that teach; linear probes train on the features that
//! the latter leaves on disk. Several processes share the forward passes; rank 0 does the rest.

mod checkpoints;
mod output;
mod passes;
mod recipe;

use std::rc::Rc;

use anyhow::{Context, bail};
use data::{Dataset, LoadedSet};
use deepmim_cli::{AnalyzeArgs, Failure};
use engine::{Environment, World};
use leaderboard::{LayerAnalysis, Setting};
use pretraining::Subject;

use crate::device;
use crate::ranks::{evaluation_shard, together};
use checkpoints::{Asked, Chosen, told_apart, typed};
use passes::Passes;
use recipe::{AnalyzeRecipe, recipe};

/// Analyses what was asked for.
pub fn run(world: &Rc<World>, args: &AnalyzeArgs) -> Result<(), Failure> {
    let (recipe, chosen, val, train, device) = together(world, || {
        let typed = typed(args);
        let first_run = typed.iter().find_map(Asked::run);
        let recipe = recipe(args, first_run.as_deref())?;
        let device = device::of_process(&recipe.run.device, world)?;
        if let Some(threads) = recipe.analysis.threads.and_then(|n| i32::try_from(n).ok()) {
            tch::set_num_threads(threads);
        }
        let shard = evaluation_shard(world);
        let val = recipe.data.open_val(shard)?;
        let train = recipe.data.open_train(recipe.analysis.seed, shard)?;
        if let Some(train) = &train {
            same_classes(train, &val)?;
        }
        let asked: Vec<Asked> = (recipe.checkpoints.iter().map(Asked::Listed))
            .chain(typed)
            .collect();
        let chosen = (asked.iter())
            .map(|asked| asked.open(&recipe, args, device))
            .collect::<anyhow::Result<Vec<Chosen>>>()?;
        told_apart(&asked, &chosen)?;
        if chosen.is_empty() {
            bail!(
                "no checkpoint is given: name runs or files, or list them in the recipe as [[checkpoints]]"
            );
        }
        if world.is_main() {
            output::prepare(&args.out)?;
        }
        Ok((recipe, chosen, val, train, device))
    })?;
    let given = &recipe.data.transform.colours;
    let subjects: Vec<Subject> = (chosen.iter())
        .map(|one| Subject::new(&one.trunk, given, &one.colours, device))
        .collect();
    let records: Vec<_> = chosen.iter().map(|one| one.record.clone()).collect();
    let names: Vec<String> = (records.iter())
        .map(|record| record.system.clone())
        .collect();
    let passes = Passes {
        subjects: &subjects,
        names: &names,
        settings: &recipe.analysis,
        device,
        folder: &args.out,
        world,
    };
    let findings = passes.run(&val, train.as_ref())?;
    let Some(findings) = findings else {
        return Ok(()); // Rank 0 writes.
    };
    let setting = Setting {
        data: described(&recipe, &val),
        pictures: val.dataset.len(),
        teaching: train.as_ref().map_or(0, |train| train.dataset.len()),
        recipe: toml::to_string_pretty(&recipe).context("the recipe cannot be written out")?,
        environment: serde_json::to_value(Environment::current(
            device,
            recipe.analysis.seed,
            world.size(),
        ))
        .ok()
        .and_then(|value| value.as_object().cloned())
        .unwrap_or_default(),
    };
    let (findings, cka) = findings.with(records);
    let analysis = LayerAnalysis::new(setting, findings, cka);
    output::write(&args.out, &analysis)?;
    output::print(&args.out, analysis, args.json)?;
    Ok(())
}

fn described(recipe: &AnalyzeRecipe, val: &LoadedSet) -> String {
    format!(
        "{}, {} classes, {} px",
        recipe.data.root.display(),
        val.dataset.classes().len(),
        recipe.data.transform.size
    )
}

/// Probes are of no use where the sets' classes differ.
fn same_classes(train: &LoadedSet, val: &LoadedSet) -> anyhow::Result<()> {
    let keys = |set: &LoadedSet| -> Vec<String> {
        let classes = set.dataset.classes().iter();
        classes.map(|class| class.key.clone()).collect()
    };
    let (ours, theirs) = (keys(train), keys(val));
    if ours != theirs {
        bail!(
            "{} classes teach ({} …) and {} are looked at ({} …): data.train and data.val must have the same classes in the same order (deepmim data check says more)",
            ours.len(),
            ours.first().map_or("none", String::as_str),
            theirs.len(),
            theirs.first().map_or("none", String::as_str),
        );
    }
    Ok(())
}

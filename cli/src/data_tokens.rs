//! `deepmim data tokens`: discrete tokens for a pre-training recipe whose target they are.

use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use data::{Dataset, PictureData, TOKENS, TokenConfig, write_tokens};
use deepmim_cli::{Failure, RecipeText, TokensArgs, print_text};
use indicatif::ProgressBar;
use serde::Deserialize;

/// What of `[model]` tokens depend on.
#[derive(Deserialize)]
struct Model {
    trunk: Trunk,
    target: toml::Table,
}

/// What of `[model.trunk]` they depend on.
#[derive(Deserialize)]
struct Trunk {
    patch_size: usize,
}

/// What of `[model.target]` they depend on.
#[derive(Deserialize)]
struct Target {
    folder: PathBuf,
    vocabulary: usize,
}

/// Makes them.
pub fn run(args: &TokensArgs, bar: &ProgressBar) -> Result<(), Failure> {
    let mut text = RecipeText::read(&args.recipe.config)?;
    if let Some(root) = &args.recipe.data {
        let root = root.to_str().context("the data set's path is not UTF-8")?;
        text.set_value("data.root", root.into())?;
    }
    for assignment in &args.recipe.overrides {
        text.set(assignment)?;
    }
    let name = args.recipe.config.display();
    let data: PictureData = text.section("data")?;
    data.check().map_err(anyhow::Error::from)?;
    let model: Model = text.section("model")?;
    let kind = model.target.get("kind").and_then(toml::Value::as_str);
    if kind != Some("tokens") {
        return Err(anyhow::anyhow!(
            "{name}: model.target.kind is not \"tokens\": give a recipe that pre-trains on tokens, such as configs/cifar10_pretrain_deepmim_tokens.toml"
        )
        .into());
    }
    let target: Target = model
        .target
        .try_into()
        .with_context(|| format!("{name}, section [model.target]"))?;
    let config = TokenConfig {
        patch: model.trunk.patch_size,
        vocabulary: target.vocabulary,
        patches: args.patches,
        rounds: args.rounds,
        seed: args.seed,
    };
    check(&name.to_string(), &data, &config)?;
    let there = target.folder.join(TOKENS);
    if there.exists() && !args.overwrite {
        return Err(anyhow::anyhow!(
            "{} is there already: give the recipe another model.target.folder, or replace it with --overwrite",
            there.display()
        )
        .into());
    }
    let set = data.open_in_order().map_err(anyhow::Error::from)?;
    bar.set_length(2 * set.dataset.len() as u64);
    let made = write_tokens(&set, &config, &target.folder, &mut |done| {
        bar.set_position(done as u64);
    })
    .map_err(anyhow::Error::from)?;
    bar.finish_and_clear();
    print_text(&format!(
        "{} pictures of {} tokens, {} of {} words used, {:.1} % of the variance explained: {}",
        made.pictures,
        made.patches,
        made.used,
        config.vocabulary,
        100.0 * made.explained,
        target.folder.display()
    ))?;
    Ok(())
}

fn check(name: &str, data: &PictureData, config: &TokenConfig) -> anyhow::Result<()> {
    if !data.transform.is_fixed() {
        bail!(
            "{name}: tokens are of pictures as they are, so training must see them in one place: set data.transform.crop.kind = \"centre\" and data.transform.flip = 0.0"
        );
    }
    let size = data.transform.size;
    ensure!(
        config.patch > 0 && size.is_multiple_of(config.patch),
        "{name}: data.transform.size = {size} must be a multiple of model.trunk.patch_size = {}",
        config.patch
    );
    ensure!(
        config.vocabulary > 0 && i32::try_from(config.vocabulary).is_ok(),
        "{name}: model.target.vocabulary = {} must be 1 or more",
        config.vocabulary
    );
    ensure!(
        config.rounds > 0,
        "--rounds 0: k-means needs a round or more"
    );
    Ok(())
}

//! Categories of a detector: those of its data set, and their names when the data set is gone.

use std::path::Path;

use anyhow::{Context, bail};
use data::{DetectionCategory, DetectionDataset, LoadedSet, Shard};
use deepmim_cli::PredictArgs;
use detection::DetectorConfig;
use eval::coco::Id;
use serde::{Deserialize, Serialize};

use crate::experiment::DetectRecipe;
use crate::weights::Weights;

/// File of a run with the categories in class order, as an annotation file lists them.
const CATEGORIES: &str = "categories.json";

/// One entry of [`CATEGORIES`].
#[derive(Serialize, Deserialize)]
struct Category {
    id: serde_json::Value,
    name: String,
}

/// Refuses a data set of another number of classes than the model's.
pub(super) fn check_classes(
    model: &DetectorConfig,
    set: &LoadedSet<DetectionDataset>,
) -> anyhow::Result<()> {
    let found = set.dataset.categories().len();
    if found != model.classes {
        bail!(
            "{} has {found} categories and the recipe's model.classes is {}: correct the file (deepmim data check) or add --set model.classes={found}",
            set.dataset.source().annotations.display(),
            model.classes
        );
    }
    Ok(())
}

/// Refuses parts that list different categories.
pub(super) fn same_categories(
    train: &LoadedSet<DetectionDataset>,
    val: &LoadedSet<DetectionDataset>,
) -> anyhow::Result<()> {
    let (ours, theirs) = (train.dataset.categories(), val.dataset.categories());
    let differ =
        |(a, b): (&DetectionCategory, &DetectionCategory)| a.id != b.id || a.name != b.name;
    if let Some(at) = ours.iter().zip(theirs).position(differ) {
        bail!(
            "category {} is {} in {} and {} in {}: the two must list the same categories (deepmim data check says more)",
            ours[at].id,
            ours[at].name,
            train.dataset.source().annotations.display(),
            theirs[at].name,
            val.dataset.source().annotations.display()
        );
    }
    if ours.len() != theirs.len() {
        bail!(
            "{} has {} categories and {} has {}: the two must list the same ones",
            train.dataset.source().annotations.display(),
            ours.len(),
            val.dataset.source().annotations.display(),
            theirs.len()
        );
    }
    Ok(())
}

/// Leaves the categories in a run's folder, for `predict`.
pub(super) fn write_categories(
    folder: &Path,
    categories: &[DetectionCategory],
) -> anyhow::Result<()> {
    let listed: Vec<Category> = categories
        .iter()
        .map(|category| Category {
            id: id_value(&category.id),
            name: category.name.clone(),
        })
        .collect();
    Ok(eval::write_json(&folder.join(CATEGORIES), &listed)?)
}

fn id_value(id: &Id) -> serde_json::Value {
    match id {
        Id::Integer(number) => (*number).into(),
        Id::Real(bits) => f64::from_bits(*bits).into(),
        Id::Text(text) => text.as_ref().into(),
    }
}

/// Names from `--classes` (one a line), from the run, or from the data set where it is there; else
/// numbers.
pub(super) fn category_names(
    args: &PredictArgs,
    recipe: &DetectRecipe,
    weights: &Weights,
) -> anyhow::Result<Vec<String>> {
    let wanted = recipe.model.classes;
    let in_run = weights
        .run
        .as_ref()
        .map(|run| run.join(CATEGORIES))
        .filter(|path| path.is_file());
    let read = |path: &Path| {
        std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
    };
    let (names, place) = match (&args.classes, in_run) {
        (Some(path), _) => {
            let names = read(path)?.lines().map(str::to_owned).collect();
            (names, path.clone())
        }
        (None, Some(path)) => {
            let listed: Vec<Category> = serde_json::from_str(&read(&path)?)
                .with_context(|| format!("{} is no list of categories", path.display()))?;
            let names = listed.into_iter().map(|category| category.name).collect();
            (names, path)
        }
        (None, None) => {
            let source = recipe.data.val.under(&recipe.data.root);
            let Ok(set) = recipe.data.open_val(Shard::WHOLE) else {
                return Ok((0..wanted).map(|class| format!("class {class}")).collect());
            };
            let categories = set.dataset.categories();
            let names: Vec<String> = categories.iter().map(|c| c.name.clone()).collect();
            (names, source.annotations)
        }
    };
    if names.len() != wanted {
        bail!(
            "{} names {} categories and the model has {wanted}: give one name for each",
            place.display(),
            names.len()
        );
    }
    Ok(names)
}

//! In what the recipes of compared runs differ.

use std::collections::BTreeMap;

use toml::{Table, Value};

/// Keys that say where and how a run computes, not what.
const FREE: [&str; 13] = [
    "run.device",
    "data.root",
    "data.threads",
    "data.prefetch",
    "trainer.seed",
    "trainer.threads",
    "trainer.keep",
    "trainer.save_every_epochs",
    "trainer.save_every_steps",
    "trainer.save_every_minutes",
    "trainer.log_every",
    "trainer.snapshot_every",
    "data.eval_batch_size",
];
/// Keys told by name; the others are counted.
const TOLD: usize = 6;

/// Every value of a recipe by its dotted path, as TOML.
pub fn flat_values(recipe: &Table) -> BTreeMap<String, String> {
    fn walk(prefix: &str, table: &Table, out: &mut BTreeMap<String, String>) {
        for (key, value) in table {
            let path = match prefix {
                "" => key.clone(),
                prefix => format!("{prefix}.{key}"),
            };
            match value {
                Value::Table(inner) => walk(&path, inner, out),
                value => {
                    out.insert(path, value.to_string());
                }
            }
        }
    }
    let mut out = BTreeMap::new();
    walk("", recipe, &mut out);
    out
}

/// A recipe's values that a result depends on.
fn binding(recipe: &str) -> BTreeMap<String, String> {
    let mut values = recipe
        .parse::<Table>()
        .as_ref()
        .map(flat_values)
        .unwrap_or_default();
    values.retain(|key, _| !FREE.contains(&key.as_str()));
    values
}

/// A sentence on what differs between the recipes of a task; none where nothing does. Data sets in other
/// places are no difference: what they hold is told by the ground truth.
pub(crate) fn differing_recipes(task: &str, recipes: &[(&str, &str)]) -> Option<String> {
    let flat: Vec<(&str, BTreeMap<String, String>)> = recipes
        .iter()
        .map(|(system, recipe)| (*system, binding(recipe)))
        .collect();
    let (first, base) = flat.first()?;
    let mut differences: BTreeMap<&str, String> = BTreeMap::new();
    for (system, other) in &flat[1..] {
        for key in base.keys().chain(other.keys()) {
            let (ours, theirs) = (base.get(key), other.get(key));
            if ours != theirs {
                let value =
                    |value: Option<&String>| value.map_or("not set", String::as_str).to_owned();
                differences.entry(key).or_insert_with(|| {
                    format!(
                        "{key} is {} for {first} and {} for {system}",
                        value(ours),
                        value(theirs)
                    )
                });
            }
        }
    }
    if differences.is_empty() {
        return None;
    }
    let told: Vec<String> = differences.values().take(TOLD).cloned().collect();
    let more = match differences.len().saturating_sub(TOLD) {
        0 => String::new(),
        more => format!("; and {more} more keys"),
    };
    Some(format!(
        "{task}: the recipes differ, so a difference of scores may come from them: {}{more}.",
        told.join("; ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECIPE: &str =
        "task = \"classify\"\n[data]\nroot = \"a\"\n[trainer]\nepochs = 5\nseed = 0\n";

    #[test]
    fn what_changes_the_result_is_told() {
        let other = RECIPE.replace("epochs = 5", "epochs = 7\nclip_grad = 1.0");
        let told = differing_recipes("top-1", &[("MAE", RECIPE), ("DeepMIM", &other)]).unwrap();
        assert!(
            told.contains("trainer.epochs is 5 for MAE and 7 for DeepMIM"),
            "{told}"
        );
        assert!(
            told.contains("trainer.clip_grad is not set for MAE and 1.0 for DeepMIM"),
            "{told}"
        );
    }

    #[test]
    fn places_and_seeds_are_no_difference() {
        let other = RECIPE
            .replace("\"a\"", "\"b\"")
            .replace("seed = 0", "seed = 1");
        assert_eq!(
            differing_recipes("top-1", &[("MAE", RECIPE), ("MAE", &other)]),
            None
        );
        assert_eq!(differing_recipes("top-1", &[]), None);
    }
}

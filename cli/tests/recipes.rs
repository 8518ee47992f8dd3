//! The recipes in configs/.

#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "shared with other tests")]
mod support;

use support::{fails, root, walk};

#[test]
fn every_recipe_is_sound() {
    let mut recipes = walk(&root().join("configs"));
    recipes.retain(|path| path.ends_with(".toml") && !path.contains("/suites/"));
    assert!(recipes.len() >= 18, "{recipes:?}");
    let folder = tempfile::tempdir().unwrap();
    for recipe in recipes {
        let text = std::fs::read_to_string(&recipe).unwrap();
        let command: &[&str] = if text.contains("task = \"pretrain\"") {
            &["pretrain"]
        } else if text.contains("task = \"analyze\"") {
            &["analyze", "--config"]
        } else {
            &["finetune"]
        };
        // Everything in the recipe is typed and checked before its data is looked for.
        let arguments = [command, &[&recipe, "--data", "nowhere"]].concat();
        let message = fails(folder.path(), 1, &arguments);
        assert!(message.contains("nowhere"), "{recipe}: {message}");
        assert!(text.starts_with("# "), "{recipe} does not say what it is");
    }
}

/// Recipes that the documentation, the examples of `--help` and other recipes name are there.
#[test]
fn recipes_in_examples_exist() {
    let mut named = 0;
    let mut files = vec![root().join("README.md").display().to_string()];
    files.extend(walk(&root().join("docs")));
    files.extend(walk(&root().join("configs")));
    files.extend(walk(&root().join("cli/src")));
    files.retain(|file| {
        [".md", ".rs", ".toml"]
            .iter()
            .any(|end| file.ends_with(end))
    });
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for part in text.split("configs/").skip(1) {
            let Some(end) = part.find(".toml") else {
                continue;
            };
            let name = &part[..end];
            if name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_/".contains(c))
            {
                let path = root().join("configs").join(format!("{name}.toml"));
                assert!(path.is_file(), "{file} names {}", path.display());
                named += 1;
            }
        }
    }
    assert!(named > 40, "only {named} recipes are named");
}

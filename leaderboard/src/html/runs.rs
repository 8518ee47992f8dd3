//! What is known of each run.

use crate::board::RunFacts;

/// A run.
pub struct Run {
    /// System, task and seed.
    pub title: String,
    /// Its folder.
    pub path: String,
    /// Names and values.
    pub facts: Vec<(String, String)>,
    /// The resolved recipe.
    pub recipe: String,
}

impl Run {
    /// In words.
    pub fn new(run: &RunFacts) -> Self {
        let mut title = format!("{}, {}", run.system, run.task);
        if let Some(seed) = run.seed {
            title.push_str(&format!(", seed {seed}"));
        }
        let mut facts = vec![("folder".to_owned(), run.path.display().to_string())];
        if !run.start.is_empty() {
            facts.push(("start".to_owned(), run.start.clone()));
        }
        facts.extend(run.facts.iter().cloned());
        Self {
            title,
            path: run.path.display().to_string(),
            facts,
            recipe: run.recipe.trim_end().to_owned(),
        }
    }
}

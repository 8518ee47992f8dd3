//! Reading a recipe: TOML text, then `--set section.key=value`, then a typed value.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// A recipe's text with the command line's replacements applied, not yet typed.
#[derive(Debug, Clone)]
pub struct RecipeText {
    path: PathBuf,
    text: String,
    table: Table,
    overridden: bool,
}

impl RecipeText {
    /// Reads a recipe file.
    ///
    /// # Errors
    /// When the file cannot be read or is no TOML; the sentence names file, line and column.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("the recipe {} cannot be read", path.display()))?;
        Self::parse(path, text)
    }

    /// A recipe built into the program; `name` stands for the file in messages.
    ///
    /// # Errors
    /// As [`RecipeText::read`].
    pub fn parse(name: &Path, text: String) -> anyhow::Result<Self> {
        let table = text
            .parse::<Table>()
            .map_err(|error| toml_error(name, &text, &error))?;
        Ok(Self {
            path: name.to_owned(),
            text,
            table,
            overridden: false,
        })
    }

    /// The recipe's file name without folder and ending: what a run is called by default.
    pub fn name(&self) -> String {
        let stem = self.path.file_stem().unwrap_or(self.path.as_os_str());
        stem.to_string_lossy().into_owned()
    }

    /// The value of a key of the first level, where it is a string.
    pub fn string(&self, key: &str) -> Option<&str> {
        self.table.get(key).and_then(Value::as_str)
    }

    /// Replaces one value, given as `section.key=value`. The value is TOML; what is not TOML is taken
    /// as a string, so that paths need no second layer of quotes.
    ///
    /// # Errors
    /// When there is no `=`, or a part of the path before the last is no section.
    pub fn set(&mut self, assignment: &str) -> anyhow::Result<()> {
        let (key, value) = assignment
            .split_once('=')
            .with_context(|| format!("--set {assignment}: write it as section.key=value"))?;
        self.set_value(key.trim(), toml_value(value.trim()))
    }

    /// Replaces the value at a dotted path; sections on the way are made where they lack.
    ///
    /// # Errors
    /// When a part of the path before the last holds a value.
    pub fn set_value(&mut self, path: &str, value: Value) -> anyhow::Result<()> {
        let mut parts: Vec<&str> = path.split('.').collect();
        let last = parts.pop().unwrap_or_default();
        if last.is_empty() || parts.iter().any(|part| part.is_empty()) {
            bail!("--set {path}: write the key as section.key");
        }
        let mut table = &mut self.table;
        for part in parts {
            table = table
                .entry(part)
                .or_insert_with(|| Value::Table(Table::new()))
                .as_table_mut()
                .with_context(|| format!("--set {path}: {part} is a value, not a section"))?;
        }
        table.insert(last.to_owned(), value);
        self.overridden = true;
        Ok(())
    }

    /// The typed recipe.
    ///
    /// # Errors
    /// When a key is unknown, missing or of the wrong type; the sentence names file, line and column,
    /// or the `--set` options where the file alone is sound.
    pub fn typed<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        let from_file = toml::from_str::<T>(&self.text)
            .map_err(|error| toml_error(&self.path, &self.text, &error));
        if !self.overridden {
            return from_file;
        }
        // A file may lack what --set adds; so only the table with everything in it must be sound. Where
        // it is not, the file's own error has the line number and comes first.
        Value::Table(self.table.clone())
            .try_into::<T>()
            .map_err(|error| match from_file {
                Err(in_file) => in_file,
                Ok(_) => anyhow!(
                    "{} with --set: {}",
                    self.path.display(),
                    one_line(error.message())
                ),
            })
    }

    /// The recipe as TOML, with everything that was replaced.
    ///
    /// # Errors
    /// None that a user could cause.
    pub fn to_toml(&self) -> anyhow::Result<String> {
        toml::to_string(&self.table).context("the recipe cannot be written out")
    }

    /// Every value by its dotted path, as TOML.
    pub fn flat(&self) -> BTreeMap<String, String> {
        leaderboard::flat_values(&self.table)
    }

    /// One section, typed, whatever the others hold.
    ///
    /// # Errors
    /// As [`RecipeText::typed`], without line numbers.
    pub fn section<T: DeserializeOwned>(&self, key: &str) -> anyhow::Result<T> {
        let section = self
            .table
            .get(key)
            .with_context(|| format!("{}: there is no section [{key}]", self.path.display()))?;
        section.clone().try_into::<T>().map_err(|error| {
            anyhow!(
                "{}, section [{key}]: {}",
                self.path.display(),
                one_line(error.message())
            )
        })
    }
}

/// A `--set` value: TOML where it parses as such, else a string.
fn toml_value(text: &str) -> Value {
    match format!("value = {text}").parse::<Table>() {
        Ok(mut table) => table
            .remove("value")
            .unwrap_or_else(|| Value::String(text.to_owned())),
        Err(_) => Value::String(text.to_owned()),
    }
}

fn toml_error(path: &Path, text: &str, error: &toml::de::Error) -> anyhow::Error {
    let message = one_line(error.message());
    match error.span() {
        Some(span) => {
            let before = &text[..span.start.min(text.len())];
            let line = before.matches('\n').count() + 1;
            let column = before
                .chars()
                .rev()
                .take_while(|letter| *letter != '\n')
                .count()
                + 1;
            anyhow!(
                "{}, line {line}, column {column}: {message}",
                path.display()
            )
        }
        None => anyhow!("{}: {message}", path.display()),
    }
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Recipe {
        task: String,
        data: Section,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Section {
        root: String,
        size: u32,
    }

    const TEXT: &str = "task = \"classify\"\n[data]\nroot = \"a\"\nsize = 32\n";

    fn recipe(text: &str) -> RecipeText {
        RecipeText::parse(Path::new("dir/small.toml"), text.to_owned()).unwrap()
    }

    #[test]
    fn values_are_replaced_and_keep_their_types() {
        let mut text = recipe(TEXT);
        text.set("data.root=/pictures/a b").unwrap();
        text.set("data.size = 64").unwrap();
        let typed: Recipe = text.typed().unwrap();
        assert_eq!(
            typed.data,
            Section {
                root: "/pictures/a b".into(),
                size: 64
            }
        );
        assert_eq!(text.name(), "small");
        assert_eq!(text.section::<Section>("data").unwrap(), typed.data);
    }

    #[test]
    fn a_missing_value_may_come_from_the_command_line() {
        let mut text = recipe("task = \"classify\"\n[data]\nroot = \"a\"\n");
        assert!(text.typed::<Recipe>().is_err());
        text.set("data.size=8").unwrap();
        assert_eq!(text.typed::<Recipe>().unwrap().data.size, 8);
    }

    #[test]
    fn an_unknown_key_is_named_with_its_place() {
        let text = recipe(&TEXT.replace("size = 32", "size = 32\nsise = 3"));
        let message = text.typed::<Recipe>().unwrap_err().to_string();
        assert!(
            message.contains("small.toml, line 5, column 1"),
            "{message}"
        );
        assert!(message.contains("sise"), "{message}");

        let mut text = recipe(TEXT);
        text.set("data.sise=3").unwrap();
        let message = text.typed::<Recipe>().unwrap_err().to_string();
        assert!(
            message.contains("--set") && message.contains("sise"),
            "{message}"
        );
    }

    #[test]
    fn an_override_needs_a_key_and_a_value() {
        let mut text = recipe(TEXT);
        assert!(text.set("data.size").is_err());
        assert!(text.set("=3").is_err());
        assert!(text.set("data..size=3").is_err());
        assert!(text.set("task.size=3").is_err());
    }
}

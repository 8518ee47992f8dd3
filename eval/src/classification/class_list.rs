//! Names of classes.

use std::collections::HashMap;
use std::path::Path;

use crate::error::EvalError;
use crate::input::{input_name, read_whole};

/// The classes of a model in the order of its outputs, found by number, name or key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClassList {
    names: Vec<String>,
    /// What stands first on each line: the WordNet id where there is one, else the name.
    keys: Vec<String>,
    /// Nothing where several classes have the name (ImageNet has two called "crane").
    index: HashMap<String, Option<usize>>,
}

impl ClassList {
    /// Classes with these names.
    pub fn new(names: Vec<String>) -> Self {
        let mut index = HashMap::with_capacity(names.len());
        for (class, name) in names.iter().enumerate() {
            note(&mut index, name, class);
        }
        Self {
            keys: names.clone(),
            names,
            index,
        }
    }

    /// Reads a file of one class a line, in class order: a name, a WordNet id and a name
    /// ("n01440764 tench"), or a key and a name with a tab between them.
    ///
    /// # Errors
    /// When the file cannot be read, holds no class, or has an empty line between classes.
    pub fn read(path: &Path) -> Result<Self, EvalError> {
        let name = input_name(path);
        let text = read_text(path)?;
        let mut list = Self::default();
        for (class, line) in text.trim_end().lines().enumerate() {
            let line = line.trim();
            if line.is_empty() {
                let problem = "the line is empty: write one class a line";
                return Err(EvalError::record(&name, class as u64 + 1, problem));
            }
            let pair = line
                .split_once('\t')
                .or_else(|| line.split_once(' ').filter(|(key, _)| is_synset(key)));
            let (key, shown) = pair.map_or((line, line), |(key, shown)| (key.trim(), shown.trim()));
            note(&mut list.index, key, class);
            note(&mut list.index, shown, class);
            list.keys.push(key.to_owned());
            list.names.push(shown.to_owned());
        }
        if list.names.is_empty() {
            return Err(EvalError::file(
                &name,
                "no class is listed in it: write one class a line",
            ));
        }
        Ok(list)
    }

    /// Number of classes.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Names in class order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The class that a text means: its number from 0, else its key or name where just one class
    /// has it.
    pub fn find(&self, text: &str) -> Option<usize> {
        match text.parse::<usize>() {
            Ok(number) => Some(number).filter(|&number| number < self.len()),
            Err(_) => self.index.get(text).copied().flatten(),
        }
    }

    /// Keys in class order.
    pub(super) fn keys(&self) -> &[String] {
        &self.keys
    }

    /// The class of a WordNet id.
    pub(super) fn find_key(&self, key: &str) -> Option<usize> {
        self.index.get(key).copied().flatten()
    }
}

fn note(index: &mut HashMap<String, Option<usize>>, name: &str, class: usize) {
    index
        .entry(name.to_owned())
        .and_modify(|known| *known = known.filter(|&other| other == class))
        .or_insert(Some(class));
}

/// A WordNet id: `n` and eight digits.
pub(super) fn is_synset(key: &str) -> bool {
    key.strip_prefix('n')
        .is_some_and(|digits| digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// A whole text file.
pub(super) fn read_text(path: &Path) -> Result<String, EvalError> {
    String::from_utf8(read_whole(path)?).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|&&byte| byte == b'\n').count() as u64 + 1;
        EvalError::record(
            &input_name(path),
            line,
            "the text is not UTF-8: save it as UTF-8",
        )
    })
}

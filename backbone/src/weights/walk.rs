//! From a finished pickle to named tensors: the path through the dictionaries is the name.
//!
//! Levels are joined by `/` (`model/blocks.0.norm1.weight`); attributes of modules, which
//! TorchScript archives and whole pickled modules have, by `.` as in a state dict.

use std::collections::BTreeSet;

use super::error::{Problem, damaged};
use super::pickle::{Call, Object, Pickle, Value};
use super::rebuild::{Described, Meaning, meaning};

/// Deepest nesting of containers.
const MAX_DEPTH: usize = 100;
/// Most tensors of one file.
const MAX_TENSORS: usize = 256 << 10;
/// Longest name of a tensor, in bytes.
const MAX_NAME: usize = 1024;

/// What a pickle holds, in the order of the file.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// Tensors with their names, or why one cannot be read.
    pub(super) tensors: Vec<(String, Result<Described, String>)>,
    /// Keys of the outermost dictionary, each with a word on its value.
    pub(super) top_level: Vec<(String, String)>,
    /// Classes of objects that stayed inert.
    pub(super) classes: BTreeSet<String>,
}

/// Lists the tensors of a pickle.
pub(super) fn contents(pickle: &Pickle) -> Result<Contents, Problem> {
    let mut walk = Walk {
        pickle,
        contents: Contents::default(),
        name: String::new(),
        // Values may be shared, so that a small file can unfold into 2^40 paths.
        visits_left: 4 * pickle.objects.len() + 1000,
    };
    walk.visit(pickle.root, false, 0)?;
    walk.contents.top_level = top_level(pickle);
    Ok(walk.contents)
}

struct Walk<'a> {
    pickle: &'a Pickle,
    contents: Contents,
    name: String,
    visits_left: usize,
}

impl Walk<'_> {
    fn visit(&mut self, value: Value, in_module: bool, depth: usize) -> Result<(), Problem> {
        let pickle = self.pickle;
        let Some(object) = pickle.object(value) else {
            return Ok(());
        };
        if !matches!(
            object,
            Object::Dict(_) | Object::List(_) | Object::Tuple(_) | Object::Call(_)
        ) {
            return Ok(());
        }
        if depth > MAX_DEPTH {
            return damaged("its containers are nested more than a hundred deep");
        }
        self.visits_left = match self.visits_left.checked_sub(1) {
            Some(left) => left,
            None => return damaged("its containers hold each other again and again"),
        };
        match object {
            Object::Dict(items) => self.dictionary(items, in_module, in_module, depth),
            Object::List(values) | Object::Tuple(values) => self.list(values, in_module, depth),
            Object::Call(call) => self.call(value, call, in_module, depth),
            _ => Ok(()),
        }
    }

    fn dictionary(
        &mut self,
        items: &[(Value, Value)],
        dotted: bool,
        in_module: bool,
        depth: usize,
    ) -> Result<(), Problem> {
        for (place, &(key, value)) in items.iter().enumerate() {
            if self.pickle.object(value).is_none() {
                continue;
            }
            let key = match (self.pickle.text(key), key) {
                (Some(text), _) => text.into_owned(),
                (None, Value::Int(number)) => number.to_string(),
                _ => format!("#{place}"), // a key that is neither text nor number
            };
            self.below(&key, dotted, |walk| walk.visit(value, in_module, depth + 1))?;
        }
        Ok(())
    }

    fn list(&mut self, values: &[Value], in_module: bool, depth: usize) -> Result<(), Problem> {
        for (place, &value) in values.iter().enumerate() {
            if self.pickle.object(value).is_some() {
                self.below(&place.to_string(), in_module, |walk| {
                    walk.visit(value, in_module, depth + 1)
                })?;
            }
        }
        Ok(())
    }

    fn call(
        &mut self,
        value: Value,
        call: &Call,
        in_module: bool,
        depth: usize,
    ) -> Result<(), Problem> {
        let tensor = match meaning(self.pickle, value) {
            Meaning::Tensor(described) => Ok(described),
            Meaning::Unreadable(why) => Err(why),
            Meaning::Other => return self.opaque(call, in_module, depth),
        };
        if self.contents.tensors.len() >= MAX_TENSORS {
            return damaged("it announces more tensors than any checkpoint");
        }
        self.contents.tensors.push((self.name.clone(), tensor));
        Ok(())
    }

    /// An object without meaning here: its attributes and contents may still hold tensors.
    fn opaque(&mut self, call: &Call, in_module: bool, depth: usize) -> Result<(), Problem> {
        let pickle = self.pickle;
        let class = pickle.global(call.function).unwrap_or(("", ""));
        let scripted = class.0.starts_with("__torch__");
        if !scripted && !class.0.is_empty() && self.contents.classes.len() < 1000 {
            self.contents
                .classes
                .insert(format!("{}.{}", class.0, class.1));
        }
        let state = call.state.map(|state| match pickle.object(state) {
            // Objects with slots have (attributes, slots).
            Some(Object::Tuple(parts)) if parts.len() == 2 => parts[0],
            _ => state,
        });
        if let Some(Object::Dict(items)) = state.and_then(|state| pickle.object(state)) {
            let module_parts: Vec<Value> = ["_parameters", "_buffers", "_modules"]
                .iter()
                .filter_map(|part| {
                    let found = items
                        .iter()
                        .find(|item| pickle.text(item.0).as_deref() == Some(part));
                    found.map(|item| item.1)
                })
                .collect();
            if module_parts.is_empty() {
                self.dictionary(items, in_module, in_module || scripted, depth)?;
            }
            for part in module_parts {
                match pickle.object(part) {
                    Some(Object::Dict(items)) => self.dictionary(items, in_module, true, depth)?,
                    _ => self.visit(part, true, depth + 1)?,
                }
            }
        }
        self.dictionary(&call.items, in_module, in_module, depth)?;
        self.list(&call.elements, in_module, depth)
    }

    /// Runs `inner` with one more level on the name.
    fn below(
        &mut self,
        key: &str,
        dotted: bool,
        inner: impl FnOnce(&mut Self) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let length = self.name.len();
        if length + key.len() >= MAX_NAME {
            return damaged("one of its names is longer than a thousand letters");
        }
        if length > 0 {
            self.name.push(if dotted { '.' } else { '/' });
        }
        self.name.push_str(key);
        let result = inner(self);
        self.name.truncate(length);
        result
    }
}

fn top_level(pickle: &Pickle) -> Vec<(String, String)> {
    let items = match pickle.object(pickle.root) {
        Some(Object::Dict(items)) => items.as_slice(),
        _ => return vec![(String::new(), describe(pickle, pickle.root))],
    };
    let key = |key: Value| match (pickle.text(key), key) {
        (Some(text), _) => text.into_owned(),
        (None, Value::Int(number)) => number.to_string(),
        _ => "(another key)".to_owned(),
    };
    items
        .iter()
        .take(10_000)
        .map(|item| (key(item.0), describe(pickle, item.1)))
        .collect()
}

/// A word on a value, for people.
fn describe(pickle: &Pickle, value: Value) -> String {
    let object = match value {
        Value::None => return "None".to_owned(),
        Value::Bool(flag) => return flag.to_string(),
        Value::Int(number) => return number.to_string(),
        Value::Float(number) => return number.to_string(),
        Value::Object(_) => pickle.object(value),
    };
    match object {
        Some(Object::Dict(items)) => format!("dictionary of {}", items.len()),
        Some(Object::List(values)) => format!("list of {}", values.len()),
        Some(Object::Tuple(values)) => format!("tuple of {}", values.len()),
        Some(Object::Text(_)) => match pickle.text(value) {
            Some(text) if text.chars().count() <= 60 => format!("{text:?}"),
            _ => "text".to_owned(),
        },
        Some(Object::Bytes(blob)) => format!("{} bytes", blob.len()),
        Some(Object::Call(call)) => match meaning(pickle, value) {
            Meaning::Other => match pickle.global(call.function) {
                Some((module, name)) => format!("{module}.{name}"),
                None => "object".to_owned(),
            },
            _ => "tensor".to_owned(),
        },
        _ => "value".to_owned(),
    }
}

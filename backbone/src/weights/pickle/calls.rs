//! Instructions that name, call, fill and identify: all of them only write down what was asked.

use super::super::error::{Problem, damaged};
use super::globals::is_program;
use super::machine::Machine;
use super::source::Source;
use super::value::{Blob, Call, Object, Storage, Value};

impl<S: Source> Machine<'_, S> {
    pub(super) fn spend(&mut self, bytes: usize) -> Result<(), Problem> {
        match self.copies_left.checked_sub(bytes) {
            Some(left) => self.copies_left = left,
            None => return damaged("its pickle repeats names beyond any checkpoint"),
        }
        Ok(())
    }

    /// A copy of a short string.
    pub(super) fn text(&mut self, value: Value) -> Result<Option<String>, Problem> {
        let text = match self.object(value) {
            Some(Object::Text(Blob::Memory(bytes)) | Object::Bytes(Blob::Memory(bytes))) => {
                String::from_utf8_lossy(bytes).into_owned()
            }
            _ => return Ok(None),
        };
        self.spend(text.len())?;
        Ok(Some(text))
    }

    pub(super) fn global(&mut self, module: String, name: String) -> Result<(), Problem> {
        if is_program(&module, &name) {
            return Err(Problem::Refused(format!("{module}.{name}")));
        }
        self.push_object(Object::Global(Box::new((module, name))))
    }

    /// Writes the call down. Only dictionaries and sets become what they would be, so that later
    /// instructions can fill them.
    pub(super) fn call(&mut self, function: Value, arguments: Value) -> Result<(), Problem> {
        let name = match self.object(function) {
            Some(Object::Global(name)) => (name.0.as_str(), name.1.as_str()),
            _ => ("", ""),
        };
        let object = match name {
            ("collections", "OrderedDict") | ("builtins" | "__builtin__", "dict") => {
                let pairs = self.given_pairs(arguments);
                self.spend(pairs.len() * size_of::<(Value, Value)>())?;
                Object::Dict(pairs)
            }
            ("builtins" | "__builtin__", "set" | "frozenset" | "list") => Object::List(Vec::new()),
            _ => Object::Call(Box::new(Call {
                function,
                arguments,
                state: None,
                items: Vec::new(),
                elements: Vec::new(),
            })),
        };
        self.push_object(object)
    }

    pub(super) fn object(&self, value: Value) -> Option<&Object> {
        match value {
            Value::Object(id) => self.objects.get(id as usize),
            _ => None,
        }
    }

    pub(super) fn items(&self, value: Value) -> &[Value] {
        match self.object(value) {
            Some(Object::Tuple(values) | Object::List(values)) => values,
            _ => &[],
        }
    }

    /// Python 2 hands `OrderedDict` its contents as a list of pairs.
    pub(super) fn given_pairs(&self, arguments: Value) -> Vec<(Value, Value)> {
        let Some(&list) = self.items(arguments).first() else {
            return Vec::new();
        };
        let pair = |&value: &Value| match self.items(value) {
            [key, value] => Some((*key, *value)),
            _ => None,
        };
        self.items(list).iter().filter_map(pair).collect()
    }

    pub(super) fn append(&mut self, values: Vec<Value>) -> Result<(), Problem> {
        match self.top_object()? {
            Object::List(list) => list.extend(values),
            Object::Call(call) => call.elements.extend(values),
            _ => return damaged("its pickle appends to something that is no list"),
        }
        Ok(())
    }

    pub(super) fn set_items(&mut self, values: &[Value]) -> Result<(), Problem> {
        let new = pairs(values)?;
        match self.top_object()? {
            Object::Dict(dict) => dict.extend(new),
            Object::Call(call) => call.items.extend(new),
            _ => return damaged("its pickle sets entries of something that is no dictionary"),
        }
        Ok(())
    }

    pub(super) fn top_object(&mut self) -> Result<&mut Object, Problem> {
        match self.top()? {
            Value::Object(id) => Ok(&mut self.objects[id as usize]),
            _ => damaged("its pickle fills a value that is no container"),
        }
    }

    /// `BUILD`: attributes of the object below. Those of plain dictionaries (`_metadata` of a
    /// state dict) say nothing about weights.
    pub(super) fn build(&mut self) -> Result<(), Problem> {
        let state = self.pop()?;
        if let Object::Call(call) = self.top_object()? {
            call.state = Some(state);
        }
        Ok(())
    }

    /// A persistent id: `('storage', class, key, location, elements[, view])`.
    pub(super) fn persistent(&mut self) -> Result<(), Problem> {
        let id = self.pop()?;
        let parts = self.items(id);
        let parts = parts[..parts.len().min(6)].to_vec();
        let what = match parts.first() {
            Some(&what) => self.text(what)?,
            None => None,
        };
        match (what.as_deref(), parts.len()) {
            // Old files keep the source of a pickled module here; its object follows.
            (Some("module"), 2..) => self.push(parts[1]),
            (Some("storage"), 5..) => {
                let class = match self.object(parts[1]) {
                    Some(Object::Global(name)) => name.1.clone(),
                    _ => return damaged("a storage in its pickle has no type"),
                };
                self.spend(class.len())?;
                let key = match (parts[2], self.text(parts[2])?) {
                    (_, Some(key)) if key.len() <= 256 => key,
                    (Value::Int(key), _) => key.to_string(),
                    _ => return damaged("a storage in its pickle has no key"),
                };
                let Value::Int(elements) = parts[4] else {
                    return damaged("a storage in its pickle has no size");
                };
                let view = parts.get(5).map(|&value| self.items(value));
                let first = match view.and_then(|view| view.get(1)) {
                    Some(&Value::Int(first)) => first,
                    _ => 0,
                };
                let (Ok(elements), Ok(first)) = (u64::try_from(elements), u64::try_from(first))
                else {
                    return damaged(format!("storage {key} has a negative size"));
                };
                self.push_object(Object::Storage(Box::new(Storage {
                    key,
                    class,
                    elements,
                    first,
                })))
            }
            _ => damaged("its pickle has a persistent id of an unknown kind"),
        }
    }
}

/// Keys and values, alternating on the stack.
pub(super) fn pairs(values: &[Value]) -> Result<Vec<(Value, Value)>, Problem> {
    if values.len() % 2 == 1 {
        return damaged("its pickle has a dictionary key without a value");
    }
    Ok(values
        .chunks_exact(2)
        .map(|pair| (pair[0], pair[1]))
        .collect())
}

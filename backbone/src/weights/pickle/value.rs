//! What a pickle program leaves behind: plain values and symbolic calls in one arena.

use std::borrow::Cow;
use std::sync::Arc;

/// Longest tuple read as a shape.
const MAX_SHAPE: usize = 64;

/// Something on the stack: small values inline, the rest by its number in the arena.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Object(u32),
}

/// Bytes of the pickle: short ones in memory, long ones as a place in the file.
#[derive(Debug, Clone)]
pub(crate) enum Blob {
    Memory(Arc<[u8]>),
    File { offset: u64, len: u64 },
}

impl Blob {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Blob::Memory(bytes) => bytes.len() as u64,
            Blob::File { len, .. } => *len,
        }
    }
}

/// A storage named by a persistent id.
#[derive(Debug, Clone)]
pub(crate) struct Storage {
    /// Its number in the file, a string as PyTorch writes it.
    pub(crate) key: String,
    /// `FloatStorage`, `UntypedStorage`, …
    pub(crate) class: String,
    /// Elements of the class it is said to have; not to be trusted.
    pub(crate) elements: u64,
    /// First element of the view, where the oldest files store a view of another storage.
    pub(crate) first: u64,
}

/// A call the program asked for and that was not made.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) function: Value,
    pub(crate) arguments: Value,
    /// What `BUILD` would have given the result: an attribute dictionary or a state tuple.
    pub(crate) state: Option<Value>,
    /// What would have been put into the result, were it a dictionary.
    pub(crate) items: Vec<(Value, Value)>,
    /// What would have been appended to the result, were it a list or a set.
    pub(crate) elements: Vec<Value>,
}

/// An entry of the arena.
#[derive(Debug)]
pub(crate) enum Object {
    Text(Blob),
    Bytes(Blob),
    List(Vec<Value>),
    Tuple(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    Global(Box<(String, String)>),
    Call(Box<Call>),
    Storage(Box<Storage>),
    /// A harmless value without meaning for weights (an integer of many digits).
    Other,
}

/// A finished pickle.
#[derive(Debug)]
pub(crate) struct Pickle {
    pub(crate) objects: Vec<Object>,
    pub(crate) root: Value,
}

impl Pickle {
    pub(crate) fn object(&self, value: Value) -> Option<&Object> {
        match value {
            Value::Object(id) => self.objects.get(id as usize),
            _ => None,
        }
    }

    /// Text of a short string; byte strings of Python 2 count as text too.
    pub(crate) fn text(&self, value: Value) -> Option<Cow<'_, str>> {
        match self.object(value)? {
            Object::Text(Blob::Memory(bytes)) | Object::Bytes(Blob::Memory(bytes)) => {
                Some(String::from_utf8_lossy(bytes))
            }
            _ => None,
        }
    }

    pub(crate) fn int(&self, value: Value) -> Option<i64> {
        match value {
            Value::Int(number) => Some(number),
            Value::Bool(flag) => Some(i64::from(flag)),
            _ => None,
        }
    }

    /// Elements of a tuple or a list.
    pub(crate) fn sequence(&self, value: Value) -> Option<&[Value]> {
        match self.object(value)? {
            Object::Tuple(values) | Object::List(values) => Some(values),
            _ => None,
        }
    }

    pub(crate) fn global(&self, value: Value) -> Option<(&str, &str)> {
        match self.object(value)? {
            Object::Global(name) => Some((&name.0, &name.1)),
            _ => None,
        }
    }

    pub(crate) fn call(&self, value: Value) -> Option<&Call> {
        match self.object(value)? {
            Object::Call(call) => Some(call),
            _ => None,
        }
    }

    /// A tuple or list of integers, such as a shape; `torch.Size` and TorchScript's wrapped
    /// integer lists included.
    pub(crate) fn ints(&self, value: Value) -> Option<Vec<i64>> {
        if let Some(call) = self.call(value) {
            let inner = self.sequence(call.arguments)?;
            return self.ints(*inner.first()?).filter(|_| inner.len() == 1);
        }
        let values = self
            .sequence(value)
            .filter(|values| values.len() <= MAX_SHAPE)?;
        values.iter().map(|&v| self.int(v)).collect()
    }
}

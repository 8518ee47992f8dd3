//! What the calls in a checkpoint's pickle mean: the functions PyTorch and numpy rebuild tensors
//! with, by name.
//!
//! Source: `torch/_utils.py`, `torch/_tensor.py`, `numpy/_core/multiarray`. A tensor that would
//! need anything else (sparse, quantised, an unsigned 16-bit array) stays in the listing with the
//! reason why it cannot be read.

use tch::Kind;

use super::kind;
use super::pickle::{Blob, Object, Pickle, Storage, Value};

/// Most dimensions a tensor may have; libtorch's own kernels stop at 64.
const MAX_DIMENSIONS: usize = 32;

/// A tensor described by a pickle.
#[derive(Debug)]
pub(super) struct Described {
    pub(super) kind: Kind,
    pub(super) shape: Vec<i64>,
    /// In elements, one per dimension.
    pub(super) strides: Vec<i64>,
    /// First element.
    pub(super) first: u64,
    pub(super) data: Data,
}

/// Where a described tensor's elements are.
#[derive(Debug)]
pub(super) enum Data {
    Storage(Storage),
    /// An array's bytes inside the pickle.
    Bytes {
        blob: Blob,
        /// Bytes were written as a text of letters up to U+00FF (protocol 2).
        latin1: bool,
        big_endian: bool,
    },
}

/// What a value of the pickle is, seen from the weights.
#[derive(Debug)]
pub(super) enum Meaning {
    Tensor(Described),
    /// A tensor that cannot be read, and why.
    Unreadable(String),
    /// Not a tensor.
    Other,
}

type Maybe<T> = Result<T, String>;

/// Says what a value means.
pub(super) fn meaning(pickle: &Pickle, value: Value) -> Meaning {
    // A parameter wraps its tensor once, a tensor subclass at most twice.
    let mut value = value;
    for _ in 0..4 {
        let Some(call) = pickle.call(value) else {
            return Meaning::Other;
        };
        let Some((module, name)) = pickle.global(call.function) else {
            return Meaning::Other;
        };
        let arguments = pickle.sequence(call.arguments).unwrap_or(&[]);
        let found = match (module, name) {
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
                match arguments.first() {
                    Some(&inner) => {
                        value = inner;
                        continue;
                    }
                    None => Err("a parameter without a tensor".to_owned()),
                }
            }
            ("torch._tensor", "_rebuild_from_type_v2" | "_rebuild_from_type") => {
                torch_subclass(pickle, arguments)
            }
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2" | "_rebuild_tensor_v3") => {
                torch_tensor(pickle, name, arguments)
            }
            ("torch._utils", other) if other.starts_with("_rebuild") => {
                Err(format!("a tensor of the special kind {other}"))
            }
            (module, "_reconstruct") if is_numpy(module) => match call.state {
                Some(state) => numpy_array(pickle, state),
                None => Err("an array without contents".to_owned()),
            },
            (module, "_frombuffer") if is_numpy(module) => numpy_buffer(pickle, arguments),
            _ => return Meaning::Other,
        };
        return match found {
            Ok(described) => Meaning::Tensor(described),
            Err(why) => Meaning::Unreadable(why),
        };
    }
    Meaning::Unreadable("a parameter wrapped too often".to_owned())
}

fn is_numpy(module: &str) -> bool {
    module == "numpy" || module.starts_with("numpy.core") || module.starts_with("numpy._core")
}

/// `_rebuild_from_type_v2(function, type, arguments, state)` around one of the plain functions.
fn torch_subclass(pickle: &Pickle, arguments: &[Value]) -> Maybe<Described> {
    let function = arguments.first().and_then(|&f| pickle.global(f));
    let inner = arguments.get(2).and_then(|&a| pickle.sequence(a));
    match (function, inner) {
        (Some(("torch._utils", name)), Some(inner)) if name.starts_with("_rebuild_tensor") => {
            torch_tensor(pickle, name, inner)
        }
        _ => Err("a tensor of an unknown class".to_owned()),
    }
}

/// `_rebuild_tensor_v2(storage, first, shape, strides, …)`; the third version adds an element type
/// after gradient and hooks because its storage has none.
fn torch_tensor(pickle: &Pickle, name: &str, arguments: &[Value]) -> Maybe<Described> {
    let &[storage, first, shape, strides, ..] = arguments else {
        return Err("a tensor with too few arguments".to_owned());
    };
    let Some(Object::Storage(storage)) = pickle.object(storage) else {
        return Err("a tensor without a storage".to_owned());
    };
    let kind = if name == "_rebuild_tensor_v3" {
        let given = arguments.get(6).and_then(|&kind| pickle.global(kind));
        given.and_then(|(_, name)| kind::from_torch(name))
    } else {
        kind::from_storage(&storage.class)
    };
    let kind = kind.ok_or_else(|| format!("a tensor over the element type {}", storage.class))?;
    let (Some(first), Some(shape), Some(strides)) =
        (pickle.int(first), pickle.ints(shape), pickle.ints(strides))
    else {
        return Err("a tensor without a shape".to_owned());
    };
    let first = u64::try_from(first)
        .ok()
        .and_then(|first| first.checked_add(storage.first))
        .ok_or("a tensor that starts before its storage")?;
    if strides.len() != shape.len() {
        return Err(format!(
            "a tensor of shape {shape:?} with strides {strides:?}"
        ));
    }
    check_shape(&shape)?;
    Ok(Described {
        kind,
        shape,
        strides,
        first,
        data: Data::Storage((**storage).clone()),
    })
}

/// State of an array: `(version, shape, type, in Fortran order, bytes)`.
fn numpy_array(pickle: &Pickle, state: Value) -> Maybe<Described> {
    let state = pickle.sequence(state).unwrap_or(&[]);
    let &[shape, kind, fortran, bytes] = (match state.len() {
        5 => &state[1..],
        _ => state,
    }) else {
        return Err("an array without contents".to_owned());
    };
    let fortran = pickle.int(fortran) == Some(1);
    numpy_data(pickle, shape, kind, fortran, bytes)
}

/// `_frombuffer(bytes, type, shape, order)`, which numpy writes from protocol 5 on.
fn numpy_buffer(pickle: &Pickle, arguments: &[Value]) -> Maybe<Described> {
    let &[bytes, kind, shape, order] = arguments else {
        return Err("an array without contents".to_owned());
    };
    let fortran = pickle.text(order).as_deref() == Some("F");
    numpy_data(pickle, shape, kind, fortran, bytes)
}

fn numpy_data(
    pickle: &Pickle,
    shape: Value,
    kind: Value,
    fortran: bool,
    bytes: Value,
) -> Maybe<Described> {
    let (kind, big_endian) = numpy_kind(pickle, kind)?;
    let shape = pickle.ints(shape).ok_or("an array without a shape")?;
    check_shape(&shape)?;
    let (blob, latin1) = numpy_bytes(pickle, bytes)?;
    Ok(Described {
        kind,
        strides: dense_strides(&shape, fortran),
        shape,
        first: 0,
        data: Data::Bytes {
            blob,
            latin1,
            big_endian,
        },
    })
}

/// Bytes of an array: as they are, in a bytearray, or as Latin-1 text through `_codecs.encode`.
fn numpy_bytes(pickle: &Pickle, value: Value) -> Maybe<(Blob, bool)> {
    match pickle.object(value) {
        Some(Object::Bytes(blob)) => Ok((blob.clone(), false)),
        Some(Object::Call(call)) => {
            let arguments = pickle.sequence(call.arguments).unwrap_or(&[]);
            match (pickle.global(call.function), arguments) {
                (Some(("_codecs", "encode")), &[text, encoding])
                    if pickle.text(encoding).as_deref() == Some("latin1") =>
                {
                    match pickle.object(text) {
                        Some(Object::Text(blob)) => Ok((blob.clone(), true)),
                        _ => Err("an array without bytes".to_owned()),
                    }
                }
                (Some((_, "bytearray" | "bytes")), &[inner]) => match pickle.object(inner) {
                    Some(Object::Bytes(blob)) => Ok((blob.clone(), false)),
                    _ => Err("an array without bytes".to_owned()),
                },
                // `bytes()` is how Python writes an empty string in protocol 2.
                (Some((_, "bytearray" | "bytes")), []) => {
                    Ok((Blob::Memory(Vec::new().into()), false))
                }
                _ => Err("an array without bytes".to_owned()),
            }
        }
        _ => Err("an array of Python objects".to_owned()),
    }
}

/// `dtype('f4', …)` with its state `(version, byte order, …)`.
fn numpy_kind(pickle: &Pickle, value: Value) -> Maybe<(Kind, bool)> {
    let call = pickle
        .call(value)
        .ok_or("an array without an element type")?;
    let arguments = pickle.sequence(call.arguments).unwrap_or(&[]);
    let code = arguments.first().and_then(|&code| pickle.text(code));
    let code = code.ok_or("an array without an element type")?;
    let order = call
        .state
        .and_then(|state| pickle.sequence(state)?.get(1).copied());
    let order = order.and_then(|order| pickle.text(order));
    let big_endian = order.as_deref() == Some(">") || code.starts_with('>');
    let bare = code.trim_start_matches(['<', '>', '|', '=']);
    let kind = kind::from_numpy(bare).ok_or_else(|| format!("an array of numpy type {code}"))?;
    Ok((kind, big_endian))
}

/// Strides in elements of an array without gaps.
pub(super) fn dense_strides(shape: &[i64], fortran: bool) -> Vec<i64> {
    let mut strides = vec![1; shape.len()];
    if fortran {
        for axis in 1..shape.len() {
            strides[axis] = strides[axis - 1] * shape[axis - 1].max(1);
        }
    } else {
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis].max(1);
        }
    }
    strides
}

/// Refuses shapes whose arithmetic could overflow, here or in libtorch.
pub(super) fn check_shape(shape: &[i64]) -> Maybe<()> {
    let product = shape
        .iter()
        .try_fold(1_i64, |product, &side| {
            product.checked_mul(side.max(1)).filter(|_| side >= 0)
        })
        .filter(|&product| product < 1 << 56);
    if shape.len() > MAX_DIMENSIONS || product.is_none() {
        return Err(format!("a tensor of the impossible shape {shape:?}"));
    }
    Ok(())
}

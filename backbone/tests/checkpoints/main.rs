//! Checkpoints: files of every dialect against what PyTorch reads from them, hostile and damaged
//! files, loading into a model, and the three inspection commands.
//!
//! Fixtures: `parity/golden/checkpoints`, whose `manifest.json` says what each file must do, and
//! `parity/golden/upernet`.

#![allow(clippy::unwrap_used)]

mod damage;
mod loading;
mod reading;
mod segmentor_trunks;
mod segmentors;
mod tools;
mod trunks;
mod writing;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use deepmim_backbone::weights::StateDict;
use tch::{Kind, Tensor};

/// A file of the fixture.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../parity/golden/checkpoints")
        .join(name)
}

/// Element type, shape and bytes: what bit-exact equality is about.
type Exact = (String, Vec<i64>, Vec<u8>);

fn exact(tensor: &Tensor) -> Exact {
    let kind = match tensor.kind() {
        Kind::Float => "F32",
        Kind::Double => "F64",
        Kind::Half => "F16",
        Kind::BFloat16 => "BF16",
        Kind::Int64 => "I64",
        Kind::Int => "I32",
        Kind::Int16 => "I16",
        Kind::Int8 => "I8",
        Kind::Uint8 => "U8",
        Kind::Bool => "BOOL",
        other => panic!("unexpected {other:?}"),
    };
    let count = tensor.numel();
    let mut bytes = vec![0; count * tensor.kind().elt_size_in_bytes()];
    tensor.contiguous().copy_data_u8(&mut bytes, count);
    (kind.to_owned(), tensor.size(), bytes)
}

fn exact_state(state: &StateDict) -> BTreeMap<String, Exact> {
    state
        .iter()
        .map(|(name, tensor)| (name.to_owned(), exact(tensor)))
        .collect()
}

/// A safetensors file as the reference crate reads it.
fn expected(path: &Path) -> BTreeMap<String, Exact> {
    let bytes = std::fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let exact = |view: safetensors::tensor::TensorView<'_>| {
        let shape = view.shape().iter().map(|&side| side as i64).collect();
        (format!("{:?}", view.dtype()), shape, view.data().to_vec())
    };
    file.tensors()
        .into_iter()
        .map(|(name, view)| (name, exact(view)))
        .collect()
}

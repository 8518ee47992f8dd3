//! Writing the `.pkl` files of detectron2's model zoo: a pickle of numpy arrays under `model`.
//!
//! Source: detectron2 `checkpoint/detection_checkpoint.py`, which takes a pickle for one of its own
//! where it has both `model` and `__author__`; numpy `ndarray.__reduce__`. Protocol 4, because
//! before protocol 3 Python has no bytes and numpy would store its arrays as text, half as long
//! again. Any Python since 3.4 and numpy since 1.0 opens the file with `pickle.load`.

use std::io::Write;

use tch::Tensor;

use super::kind;
use super::pickle::PickleWriter;
use super::safetensors::{WriteProblem, write_data};

/// Writes the arrays. With `match_names` the file asks detectron2 to find each parameter by the
/// end of its name (`matching_heuristics`), which puts a bare trunk into a detector.
pub(super) fn write<'a>(
    out: &mut impl Write,
    tensors: impl Iterator<Item = (&'a str, &'a Tensor)>,
    match_names: bool,
) -> Result<(), WriteProblem> {
    let mut pickle = PickleWriter::new(out, 4)?;
    pickle.empty_dict()?;
    pickle.text("model")?;
    pickle.empty_dict()?;
    for (name, tensor) in tensors {
        pickle.text(name)?;
        array(&mut pickle, name, tensor)?;
        pickle.set_item()?;
    }
    pickle.set_item()?;
    pickle.text("__author__")?;
    pickle.text("deepmim")?;
    pickle.set_item()?;
    if match_names {
        pickle.text("matching_heuristics")?;
        pickle.flag(true)?;
        pickle.set_item()?;
    }
    Ok(pickle.finish()?)
}

/// An empty array, then its state: version, shape, element type, column-major or not, bytes.
fn array(
    pickle: &mut PickleWriter<'_, impl Write>,
    name: &str,
    tensor: &Tensor,
) -> Result<(), WriteProblem> {
    let Some(code) = kind::to_numpy(tensor.kind()) else {
        return Err(WriteProblem::Kind(format!(
            "{name} is of type {}, which numpy does not have",
            kind::kind_name(tensor.kind())
        )));
    };
    // numpy 2 has moved the module and still answers to this name.
    pickle.global("numpy.core.multiarray", "_reconstruct")?;
    pickle.tuple(|pickle| {
        pickle.global("numpy", "ndarray")?;
        pickle.ints(&[0])?;
        pickle.bytes(1, |out| out.write_all(b"b"))
    })?;
    pickle.call()?;
    pickle.tuple(|pickle| {
        pickle.int(1)?;
        pickle.ints(&tensor.size())?;
        element_type(pickle, code)?;
        pickle.flag(false)?;
        let length = tensor.numel() as u64 * tensor.kind().elt_size_in_bytes() as u64;
        pickle.bytes(length, |out| write_data(out, tensor))
    })?;
    Ok(pickle.build()?)
}

fn element_type(pickle: &mut PickleWriter<'_, impl Write>, code: &str) -> std::io::Result<()> {
    pickle.global("numpy", "dtype")?;
    pickle.tuple(|pickle| {
        pickle.text(code)?;
        pickle.flag(false)?;
        pickle.flag(true)
    })?;
    pickle.call()?;
    pickle.tuple(|pickle| {
        pickle.int(3)?;
        // Bytes have no order.
        pickle.text(if code.ends_with('1') { "|" } else { "<" })?;
        for _ in 0..3 {
            pickle.none()?;
        }
        pickle.int(-1)?;
        pickle.int(-1)?;
        pickle.int(0)
    })?;
    pickle.build()
}

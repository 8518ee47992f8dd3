//! Writing what `torch.save(state_dict, path)` writes, so that
//! `torch.load(path, weights_only=True)` reads it.
//!
//! Source: PyTorch `torch/serialization.py` (`_save`), `torch/_utils.py` (`_rebuild_tensor_v2`),
//! `torch/_weights_only_unpickler.py` for what the safe loader admits.

use std::io::{self, Write};

use tch::{Kind, Tensor};

use super::kind;
use super::pickle::PickleWriter;
use super::safetensors::{WriteProblem, write_data};
use super::zip_writer::ZipWriter;

/// Folder in the archive; PyTorch accepts any.
const ROOT: &str = "archive";

/// Writes tensors as an `OrderedDict`, which lies under `nested` in a dictionary where one is named.
pub(super) fn write<'a>(
    out: &mut impl Write,
    tensors: impl Iterator<Item = (&'a str, &'a Tensor)>,
    nested: Option<&str>,
) -> Result<(), WriteProblem> {
    let mut entries = Vec::new();
    for (name, tensor) in tensors {
        let kind = tensor.kind();
        // The 8-bit types have no storage class of their own.
        let storage = kind::to_storage(kind)
            .filter(|_| !matches!(kind, Kind::Float8e5m2 | Kind::Float8e4m3fn));
        let Some(storage) = storage else {
            return Err(WriteProblem::Kind(format!(
                "{name} is of type {}, which PyTorch keeps in no plain storage",
                kind::kind_name(kind)
            )));
        };
        entries.push((name, tensor, storage));
    }
    let mut data = Vec::new();
    describe(&mut data, &entries, nested)?;
    let mut zip = ZipWriter::new(out);
    zip.small(&format!("{ROOT}/data.pkl"), &data)?;
    zip.small(&format!("{ROOT}/byteorder"), b"little")?;
    for (key, (_, tensor, _)) in entries.iter().enumerate() {
        // The checksum stands before the data, which is therefore gone through twice.
        let mut sum = Checksum(crc32fast::Hasher::new());
        write_data(&mut sum, tensor)?;
        let name = format!("{ROOT}/data/{key}");
        let length = tensor.numel() as u64 * tensor.kind().elt_size_in_bytes() as u64;
        zip.entry(&name, length, sum.0.finalize(), |out| {
            write_data(out, tensor)
        })?;
    }
    zip.small(&format!("{ROOT}/version"), b"3\n")?;
    Ok(zip.finish()?)
}

/// `data.pkl`: every tensor a call over a storage of its own.
fn describe(
    out: &mut Vec<u8>,
    entries: &[(&str, &Tensor, &str)],
    nested: Option<&str>,
) -> io::Result<()> {
    let mut pickle = PickleWriter::new(out, 2)?;
    if let Some(nested) = nested {
        pickle.empty_dict()?;
        pickle.text(nested)?;
    }
    ordered_dict(&mut pickle)?;
    for (key, &(name, tensor, storage)) in entries.iter().enumerate() {
        pickle.text(name)?;
        pickle.global("torch._utils", "_rebuild_tensor_v2")?;
        pickle.tuple(|pickle| {
            pickle.tuple(|pickle| {
                pickle.text("storage")?;
                pickle.global("torch", storage)?;
                pickle.text(&key.to_string())?;
                pickle.text("cpu")?;
                pickle.int(tensor.numel() as i64)
            })?;
            pickle.persistent()?;
            pickle.int(0)?;
            pickle.ints(&tensor.size())?;
            pickle.ints(&super::rebuild::dense_strides(&tensor.size(), false))?;
            pickle.flag(false)?; // requires no gradient
            ordered_dict(pickle) // no hooks
        })?;
        pickle.call()?;
        pickle.set_item()?;
    }
    if nested.is_some() {
        pickle.set_item()?;
    }
    pickle.finish()
}

fn ordered_dict(pickle: &mut PickleWriter<'_, impl Write>) -> io::Result<()> {
    pickle.global("collections", "OrderedDict")?;
    pickle.empty_tuple()?;
    pickle.call()
}

/// Sums what is written to it.
struct Checksum(crc32fast::Hasher);

impl Write for Checksum {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

//! The safetensors format: eight bytes with the header's length, a JSON header, the data.
//!
//! Source: the format's description in huggingface/safetensors. Written here rather than through
//! the `safetensors` crate so that neither direction holds the file in memory beside its tensors;
//! the crate is the second opinion in the tests.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};

use serde::Deserialize;
use tch::{Device, Tensor};

use super::checkpoint::{Bytes, Format, Index, Layout, Place, TensorInfo};
use super::error::{Problem, damaged};
use super::kind;
use super::rebuild::{check_shape, dense_strides};

/// Longest header, as in the reference implementation.
const MAX_HEADER: u64 = 100_000_000;
/// Tensors are written in pieces of this many elements.
const PIECE: i64 = 1 << 20;

#[derive(Deserialize)]
struct Info {
    dtype: String,
    shape: Vec<i64>,
    data_offsets: (u64, u64),
}

pub(super) fn open(mut file: File, length: u64) -> Result<Index, Problem> {
    use std::io::Seek;
    file.rewind()?;
    let mut size = [0; 8];
    file.read_exact(&mut size)?;
    let size = u64::from_le_bytes(size);
    let data_start = match size.checked_add(8) {
        Some(start) if start <= length && size <= MAX_HEADER => start,
        _ => return damaged("its safetensors header is cut off"),
    };
    let mut header = Vec::with_capacity(size as usize);
    file.take(size).read_to_end(&mut header)?;
    let header: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&header)
        .map_err(|error| Problem::Damaged(format!("its safetensors header is wrong ({error})")))?;
    let mut top_level = Vec::new();
    let mut entries = Vec::new();
    for (name, value) in header {
        if name == "__metadata__" {
            if let serde_json::Value::Object(pairs) = value {
                top_level.extend(
                    pairs
                        .into_iter()
                        .map(|(key, value)| (key, value.to_string())),
                );
            }
            continue;
        }
        let info: Info = serde_json::from_value(value).map_err(|error| {
            Problem::Damaged(format!(
                "{name} is described wrongly in its header ({error})"
            ))
        })?;
        entries.push((name, info));
    }
    entries.sort_by_key(|(_, info)| info.data_offsets.0);
    let mut tensors = Vec::with_capacity(entries.len());
    let mut storages = Vec::with_capacity(entries.len());
    for (name, info) in entries {
        let (from, to) = info.data_offsets;
        if from > to || to > length - data_start {
            return damaged(format!("{name} lies beyond its end"));
        }
        let layout = match kind::from_safetensors(&info.dtype) {
            None => Err(format!("a tensor of type {}", info.dtype)),
            Some(kind) => {
                check_shape(&info.shape).map_err(Problem::Damaged)?;
                let elements: u64 = info.shape.iter().map(|&side| side.unsigned_abs()).product();
                if elements * kind.elt_size_in_bytes() as u64 != to - from {
                    return damaged(format!(
                        "{name} of shape {:?} has {} bytes",
                        info.shape,
                        to - from
                    ));
                }
                Ok(Layout {
                    kind,
                    strides: dense_strides(&info.shape, false),
                    shape: info.shape,
                    first: 0,
                    storage: storages.len(),
                })
            }
        };
        storages.push(Bytes {
            name: name.clone(),
            place: Place::File {
                start: data_start + from,
                len: to - from,
                latin1: false,
            },
            len: to - from,
            swap: 1,
        });
        tensors.push(TensorInfo { name, layout });
    }
    Ok(Index {
        format: Format::Safetensors,
        tensors,
        top_level,
        classes: Vec::new(),
        storages,
    })
}

/// Writes tensors and a table of notes. Wide types come first, so that every tensor starts at a
/// multiple of its element's size.
pub(super) fn write<'a>(
    out: &mut impl Write,
    tensors: impl Iterator<Item = (&'a str, &'a Tensor)>,
    notes: &BTreeMap<String, String>,
) -> Result<(), WriteProblem> {
    let mut entries = Vec::new();
    for (name, tensor) in tensors {
        match kind::to_safetensors(tensor.kind()) {
            Some(dtype) => entries.push((name, tensor, dtype)),
            None => {
                return Err(WriteProblem::Kind(format!(
                    "{name} is of type {}, which safetensors does not have",
                    kind::kind_name(tensor.kind())
                )));
            }
        }
    }
    let width = |tensor: &Tensor| tensor.kind().elt_size_in_bytes();
    entries.sort_by_key(|&(name, tensor, _)| (std::cmp::Reverse(width(tensor)), name));
    let mut header = serde_json::Map::new();
    if !notes.is_empty() {
        header.insert("__metadata__".to_owned(), serde_json::json!(notes));
    }
    let mut offset = 0;
    for &(name, tensor, dtype) in &entries {
        let end = offset + tensor.numel() * width(tensor);
        let info = serde_json::json!({
            "dtype": dtype, "shape": tensor.size(), "data_offsets": [offset, end],
        });
        header.insert(name.to_owned(), info);
        offset = end;
    }
    let mut header = serde_json::Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    for (_, tensor, _) in entries {
        write_data(out, tensor)?;
    }
    Ok(())
}

/// The elements, row-major, whatever the tensor's strides and device.
pub(super) fn write_data(out: &mut impl Write, tensor: &Tensor) -> Result<(), WriteProblem> {
    let flat = tensor.f_detach()?.f_contiguous()?.f_view([-1])?;
    let total = flat.numel() as i64;
    let mut buffer = Vec::new();
    let mut at = 0;
    while at < total {
        let count = PIECE.min(total - at);
        let piece = flat.f_narrow(0, at, count)?.f_to_device(Device::Cpu)?;
        buffer.resize(count as usize * piece.kind().elt_size_in_bytes(), 0);
        piece.f_copy_data_u8(&mut buffer, count as usize)?;
        out.write_all(&buffer)?;
        at += count;
    }
    Ok(())
}

/// Why a file could not be written.
#[derive(Debug)]
pub(super) enum WriteProblem {
    Io(std::io::Error),
    Torch(tch::TchError),
    Kind(String),
}

impl From<std::io::Error> for WriteProblem {
    fn from(error: std::io::Error) -> Self {
        WriteProblem::Io(error)
    }
}

impl From<tch::TchError> for WriteProblem {
    fn from(error: tch::TchError) -> Self {
        WriteProblem::Torch(error)
    }
}

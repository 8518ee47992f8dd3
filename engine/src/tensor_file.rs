//! Named tensors in a `.safetensors` file, written once, with a checksum, straight to the disk.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor};

/// Size and SHA-256 of a file, to tell a whole one from a broken one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checksum {
    /// Length of the file.
    pub bytes: u64,
    /// SHA-256 of its content, in lower-case hexadecimal.
    pub sha256: String,
}

/// Hashes and counts what passes through.
struct Hashing<W> {
    inner: W,
    hasher: Sha256,
    bytes: u64,
}

impl<W> Hashing<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            hasher: Sha256::new(),
            bytes: 0,
        }
    }

    fn finish(self) -> (W, Checksum) {
        let checksum = Checksum {
            bytes: self.bytes,
            sha256: hex(&self.hasher.finalize()),
        };
        (self.inner, checksum)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(data)?;
        self.hasher.update(&data[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 of `bytes` in lower-case hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The checksum of the file at `path`.
pub(crate) fn checksum(path: &Path) -> io::Result<Checksum> {
    let mut file = File::open(path)?;
    let mut hashing = Hashing::new(io::sink());
    let mut block = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut block)?;
        if read == 0 {
            return Ok(hashing.finish().1);
        }
        hashing.write_all(&block[..read])?;
    }
}

fn dtype(kind: Kind) -> io::Result<&'static str> {
    Ok(match kind {
        Kind::Uint8 => "U8",
        Kind::Int8 => "I8",
        Kind::Int16 => "I16",
        Kind::Int => "I32",
        Kind::Int64 => "I64",
        Kind::Half => "F16",
        Kind::BFloat16 => "BF16",
        Kind::Float => "F32",
        Kind::Double => "F64",
        Kind::Bool => "BOOL",
        other => {
            return Err(io::Error::other(format!(
                "a tensor of {other:?} cannot be stored"
            )));
        }
    })
}

fn kind(dtype: Dtype) -> Option<Kind> {
    Some(match dtype {
        Dtype::U8 => Kind::Uint8,
        Dtype::I8 => Kind::Int8,
        Dtype::I16 => Kind::Int16,
        Dtype::I32 => Kind::Int,
        Dtype::I64 => Kind::Int64,
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::F32 => Kind::Float,
        Dtype::F64 => Kind::Double,
        Dtype::BOOL => Kind::Bool,
        _ => return None,
    })
}

#[derive(Serialize)]
struct Entry {
    dtype: &'static str,
    shape: Vec<i64>,
    data_offsets: [u64; 2],
}

/// Writes `tensors`, sorted by name, and waits until they are on the disk.
///
/// One tensor at a time is copied to the host, so that saving needs no second copy of the model.
pub(crate) fn write(path: &Path, tensors: &[(String, Tensor)]) -> io::Result<Checksum> {
    let sorted: BTreeMap<&str, &Tensor> = tensors
        .iter()
        .map(|(name, tensor)| (name.as_str(), tensor))
        .collect();
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".into(), serde_json::json!({"format": "pt"}));
    let mut offset = 0;
    for (name, tensor) in &sorted {
        let end = offset + (tensor.numel() * tensor.kind().elt_size_in_bytes()) as u64;
        let entry = Entry {
            dtype: dtype(tensor.kind())?,
            shape: tensor.size(),
            data_offsets: [offset, end],
        };
        header.insert((*name).into(), serde_json::to_value(entry)?);
        offset = end;
    }
    let mut header = serde_json::to_vec(&header)?;
    header.resize(header.len().next_multiple_of(8), b' ');

    let mut out = Hashing::new(BufWriter::with_capacity(1 << 20, File::create(path)?));
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    let mut bytes = Vec::new();
    for tensor in sorted.values() {
        let host = tensor.detach().to_device(Device::Cpu).contiguous();
        let count = host.numel();
        bytes.resize(count * host.kind().elt_size_in_bytes(), 0);
        host.f_copy_data_u8(&mut bytes, count)
            .map_err(io::Error::other)?;
        out.write_all(&bytes)?;
    }
    let (buffered, checksum) = out.finish();
    let file = buffered
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(checksum)
}

/// Reads every tensor of a file onto the host.
///
/// # Errors
/// A half sentence for "the file is broken: …".
pub(crate) fn read(path: &Path) -> Result<Vec<(String, Tensor)>, String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| error.to_string())?;
    let mut tensors = Vec::with_capacity(file.len());
    for (name, view) in file.iter() {
        let kind = kind(view.dtype())
            .ok_or_else(|| format!("{name} has the unknown type {:?}", view.dtype()))?;
        let shape: Vec<i64> = view.shape().iter().map(|size| *size as i64).collect();
        let data: Cow<[u8]> = view.data().into();
        let tensor =
            Tensor::f_from_data_size(&data, &shape, kind).map_err(|error| error.to_string())?;
        tensors.push((name.to_owned(), tensor));
    }
    Ok(tensors)
}

/// Copies `from` into `into` by name, device by device. Names, shapes and kinds must be the same on
/// both sides; nothing is copied unless all are.
///
/// # Errors
/// A half sentence naming the first entry that differs.
pub(crate) fn copy_exactly(
    into: &[(String, Tensor)],
    from: Vec<(String, Tensor)>,
) -> Result<(), String> {
    let mut from: BTreeMap<String, Tensor> = from.into_iter().collect();
    let mut pairs = Vec::with_capacity(into.len());
    for (name, target) in into {
        let Some(source) = from.remove(name) else {
            return Err(format!("{name} is missing in the file"));
        };
        if source.size() != target.size() || source.kind() != target.kind() {
            return Err(format!(
                "{name} is {:?} {:?} in the file and {:?} {:?} here",
                source.kind(),
                source.size(),
                target.kind(),
                target.size()
            ));
        }
        pairs.push((target.shallow_clone(), source));
    }
    if let Some(name) = from.keys().next() {
        return Err(format!("{name} in the file is unknown here"));
    }
    tch::no_grad(|| {
        for (mut target, source) in pairs {
            target.copy_(&source);
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<(String, Tensor)> {
        let base = Tensor::arange(12, (Kind::Float, Device::Cpu)).reshape([3, 4]);
        vec![
            ("b.transposed".into(), base.tr()),
            ("a".into(), base.to_kind(Kind::BFloat16)),
            ("step".into(), Tensor::from(7i64)),
            (
                "empty".into(),
                Tensor::zeros([0, 2], (Kind::Double, Device::Cpu)),
            ),
            ("mask".into(), base.gt(4.0)),
        ]
    }

    #[test]
    fn tensors_come_back_with_kind_and_shape() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.safetensors");
        let written = write(&path, &sample()).unwrap();
        assert_eq!(written, checksum(&path).unwrap());
        assert_eq!(written.bytes, std::fs::metadata(&path).unwrap().len());
        let read: BTreeMap<_, _> = read(&path).unwrap().into_iter().collect();
        assert_eq!(read.len(), 5);
        for (name, wanted) in sample() {
            assert_eq!(read[&name].kind(), wanted.kind(), "{name}");
            assert!(read[&name].equal(&wanted), "{name}");
        }
    }

    /// tch's own reader, which knows nothing of this writer.
    #[test]
    fn another_reader_understands_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.safetensors");
        write(&path, &sample()).unwrap();
        let read: BTreeMap<_, _> = Tensor::read_safetensors(&path)
            .unwrap()
            .into_iter()
            .collect();
        assert!(read["b.transposed"].equal(&sample()[0].1));
        assert_eq!(read["step"].int64_value(&[]), 7);
    }

    #[test]
    fn copying_is_all_or_nothing() {
        let target = || {
            vec![
                (
                    "a".to_owned(),
                    Tensor::zeros([2], (Kind::Float, Device::Cpu)),
                ),
                (
                    "b".to_owned(),
                    Tensor::zeros([1], (Kind::Float, Device::Cpu)),
                ),
            ]
        };
        let ones = |size| Tensor::ones([size], (Kind::Float, Device::Cpu));
        for (from, complaint) in [
            (vec![("a".to_owned(), ones(2))], "b is missing"),
            // copy_ alone would broadcast this one.
            (
                vec![("a".to_owned(), ones(2)), ("b".to_owned(), ones(2))],
                "b is",
            ),
            (
                vec![("a".to_owned(), ones(1)), ("b".to_owned(), ones(1))],
                "a is Float [1] in the file and Float [2] here",
            ),
            (
                vec![
                    ("a".to_owned(), ones(2)),
                    ("b".to_owned(), ones(1)),
                    ("c".to_owned(), ones(1)),
                ],
                "c in the file is unknown",
            ),
        ] {
            let into = target();
            let message = copy_exactly(&into, from).unwrap_err();
            assert!(message.starts_with(complaint), "{message}");
            assert_eq!(into[0].1.sum(Kind::Float).double_value(&[]), 0.0);
        }
        let into = target();
        copy_exactly(&into, vec![("b".into(), ones(1)), ("a".into(), ones(2))]).unwrap();
        assert_eq!(into[0].1.sum(Kind::Float).double_value(&[]), 2.0);
    }
}

//! Reading tensors' data: one storage at a time, so that beside the tensors themselves never more
//! than the largest storage is in memory.

use std::collections::BTreeMap;
use std::fs::File;

use tch::Tensor;

use super::archive::read_at_into;
use super::checkpoint::{Bytes, Checkpoint, Layout, Place, TensorInfo, elements};
use super::error::{Problem, WeightsError, damaged};
use super::state::StateDict;

/// A file's tensors may take this many times its length, and as many bytes more: views that share
/// a storage, expanded tensors and compressed archives are legitimate within reason.
const EXPANSION: u128 = 16;
const EXPANSION_BYTES: u128 = 256 << 20;

impl Checkpoint {
    /// Reads the tensors whose names `wanted` accepts, row-major and each in memory of its own.
    ///
    /// # Errors
    /// When a wanted tensor cannot be read, the file changed since it was opened, or its tensors
    /// would take far more memory than the file can explain.
    pub fn read(&self, wanted: impl Fn(&str) -> bool) -> Result<StateDict, WeightsError> {
        // By storage and place in it: each storage is read once, in the order of the file.
        let mut jobs: BTreeMap<usize, Vec<(&TensorInfo, &Layout)>> = BTreeMap::new();
        for tensor in self.tensors().iter().filter(|tensor| wanted(&tensor.name)) {
            match &tensor.layout {
                Ok(layout) => jobs
                    .entry(layout.storage)
                    .or_default()
                    .push((tensor, layout)),
                Err(why) => {
                    let what = format!("{} is {why}, which", tensor.name);
                    return Err(Problem::Unsupported(what).at(self.path()));
                }
            }
        }
        self.check_size(&jobs)?;
        let mut state = StateDict::new(self.path().display().to_string());
        let mut file =
            File::open(self.path()).map_err(|error| Problem::Io(error).at(self.path()))?;
        let mut bytes = Vec::new(); // one for all storages: fresh memory costs more than reading
        for (storage, tensors) in jobs {
            load(&mut file, &self.storages[storage], &mut bytes)
                .map_err(|problem| problem.at(self.path()))?;
            for (info, layout) in tensors {
                let tensor = tensor(&bytes, layout).map_err(|source| WeightsError::Torch {
                    name: info.name.clone(),
                    source,
                })?;
                state.insert(info.name.clone(), tensor);
            }
        }
        Ok(state)
    }

    /// Reads every tensor.
    ///
    /// # Errors
    /// As [`Checkpoint::read`].
    pub fn read_all(&self) -> Result<StateDict, WeightsError> {
        self.read(|_| true)
    }

    fn check_size(
        &self,
        jobs: &BTreeMap<usize, Vec<(&TensorInfo, &Layout)>>,
    ) -> Result<(), WeightsError> {
        let mut wanted = 0;
        for (&storage, tensors) in jobs {
            wanted += u128::from(self.storages[storage].len);
            for (_, layout) in tensors {
                let width = layout.kind.elt_size_in_bytes() as u128;
                wanted += u128::from(elements(&layout.shape)) * width;
            }
        }
        if wanted > EXPANSION * u128::from(self.file_len()) + EXPANSION_BYTES {
            return Err(WeightsError::TooLarge {
                path: self.path().to_path_buf(),
                wanted,
                stored: self.file_len(),
            });
        }
        Ok(())
    }
}

/// Replaces `data` by a storage's bytes in the machine's order.
fn load(file: &mut File, bytes: &Bytes, data: &mut Vec<u8>) -> Result<(), Problem> {
    let latin1 = match &bytes.place {
        Place::File { start, len, latin1 } => {
            read_at_into(file, *start, *len, data)?;
            *latin1
        }
        Place::Archive(entry) => {
            entry.read_into(file, &bytes.name, data)?;
            false
        }
        Place::Memory { bytes, latin1 } => {
            data.clear();
            data.extend_from_slice(bytes);
            *latin1
        }
    };
    if latin1 {
        *data = from_latin1(data).ok_or_else(|| {
            Problem::Damaged(format!("{} holds text that is no Latin-1", bytes.name))
        })?;
    }
    if data.len() as u64 != bytes.len {
        return damaged(format!(
            "{} has {} bytes where {} are needed",
            bytes.name,
            data.len(),
            bytes.len
        ));
    }
    if bytes.swap > 1 {
        data.chunks_exact_mut(bytes.swap).for_each(<[u8]>::reverse);
    }
    Ok(())
}

/// Bytes that protocol 2 wrote as a UTF-8 text of letters up to U+00FF.
fn from_latin1(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    text.chars()
        .map(|letter| u8::try_from(letter).ok())
        .collect()
}

fn tensor(bytes: &[u8], layout: &Layout) -> Result<Tensor, tch::TchError> {
    let width = layout.kind.elt_size_in_bytes();
    let count = elements(&layout.shape) as usize;
    if count == 0 {
        return Tensor::f_zeros(layout.shape.as_slice(), (layout.kind, tch::Device::Cpu));
    }
    let first = layout.first as usize * width;
    if is_row_major(layout) {
        let data = &bytes[first..first + count * width];
        return Tensor::f_from_data_size(data, &layout.shape, layout.kind);
    }
    let data = gather(&bytes[first..], layout, width, count);
    Tensor::f_from_data_size(&data, &layout.shape, layout.kind)
}

/// True where the elements lie one after the other; the stride of a side of 1 means nothing.
fn is_row_major(layout: &Layout) -> bool {
    let mut wanted = 1;
    layout
        .shape
        .iter()
        .zip(&layout.strides)
        .rev()
        .all(|(&side, &stride)| {
            let fits = side == 1 || stride == wanted;
            wanted *= side;
            fits
        })
}

/// Copies a strided tensor's elements in row-major order. Places were checked when the file was
/// opened.
fn gather(bytes: &[u8], layout: &Layout, width: usize, count: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(count * width);
    let mut index = vec![0_i64; layout.shape.len()];
    let mut at = 0_i64;
    for _ in 0..count {
        let from = at as usize * width;
        out.extend_from_slice(&bytes[from..from + width]);
        for axis in (0..index.len()).rev() {
            index[axis] += 1;
            at = at.wrapping_add(layout.strides[axis]);
            if index[axis] < layout.shape[axis] {
                break;
            }
            // The stride of a side of 1 may be anything, overflow included.
            at = at.wrapping_sub(layout.strides[axis].wrapping_mul(layout.shape[axis]));
            index[axis] = 0;
        }
    }
    out
}

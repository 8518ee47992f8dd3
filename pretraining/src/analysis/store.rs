//! Features of the pictures that teach, on disk, so that trunks look at each picture once however often probes do.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::PretrainError;

/// A file of pictures' classes and features, deleted at the end: 4 bytes for each layer and channel of every trunk.
#[derive(Debug)]
pub struct FeatureStore {
    path: PathBuf,
    writer: BufWriter<File>,
    /// Numbers of a picture in each trunk.
    widths: Vec<usize>,
    pictures: usize,
}

impl FeatureStore {
    /// An empty one at `path`, for trunks with so many numbers a picture.
    ///
    /// # Errors
    /// [`PretrainError::Store`] where the file cannot be made.
    pub fn new(path: &Path, widths: Vec<usize>) -> Result<Self, PretrainError> {
        let failed = failed(path);
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(true);
        Ok(Self {
            writer: BufWriter::new(options.open(path).map_err(failed)?),
            path: path.to_owned(),
            widths,
            pictures: 0,
        })
    }

    /// Pictures in it.
    pub fn pictures(&self) -> usize {
        self.pictures
    }

    /// Adds a picture with its features in every trunk.
    ///
    /// # Errors
    /// [`PretrainError::Store`] where the disk is full, most likely.
    pub fn add<'a>(
        &mut self,
        label: i64,
        features: impl Iterator<Item = &'a [f32]>,
    ) -> Result<(), PretrainError> {
        let mut bytes = label.to_le_bytes().to_vec();
        for (trunk, width) in features.zip(&self.widths) {
            assert_eq!(
                trunk.len(),
                *width,
                "a picture has one number for each layer and channel"
            );
            bytes.extend(trunk.iter().flat_map(|number| number.to_le_bytes()));
        }
        self.writer.write_all(&bytes).map_err(failed(&self.path))?;
        self.pictures += 1;
        Ok(())
    }

    /// Shows every picture, in the order in which they came: its class and its features in every trunk.
    ///
    /// # Errors
    /// [`PretrainError::Store`] where the file cannot be read.
    pub fn each(&mut self, mut show: impl FnMut(i64, &[&[f32]])) -> Result<(), PretrainError> {
        self.writer.flush().map_err(failed(&self.path))?;
        let file = self.writer.get_mut();
        file.rewind().map_err(failed(&self.path))?;
        let mut reader = BufReader::with_capacity(1 << 20, file);
        let mut bytes = vec![0; 8 + 4 * self.widths.iter().sum::<usize>()];
        let mut numbers: Vec<f32> = Vec::new();
        for _ in 0..self.pictures {
            reader.read_exact(&mut bytes).map_err(failed(&self.path))?;
            let (label, rest) = bytes.split_at(8);
            let label = i64::from_le_bytes(label.try_into().unwrap_or_default());
            numbers.clear();
            numbers.extend(
                rest.as_chunks()
                    .0
                    .iter()
                    .map(|four| f32::from_le_bytes(*four)),
            );
            let mut left = numbers.as_slice();
            let trunks: Vec<&[f32]> = self
                .widths
                .iter()
                .map(|width| {
                    let (own, others) = left.split_at(*width);
                    left = others;
                    own
                })
                .collect();
            show(label, &trunks);
        }
        // Further pictures go behind the last one.
        reader
            .into_inner()
            .seek(io::SeekFrom::End(0))
            .map_err(failed(&self.path))?;
        Ok(())
    }
}

impl Drop for FeatureStore {
    fn drop(&mut self) {
        // Nobody needs it; where it cannot be deleted it can stay.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> PretrainError + use<> {
    let path = path.to_owned();
    move |source| PretrainError::Store { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_come_back_as_often_as_asked_for_and_leave_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("features");
        let mut store = FeatureStore::new(&path, vec![2, 1]).unwrap();
        let add = |store: &mut FeatureStore, label: i64| {
            let (a, b) = ([label as f32, 0.5], [-1.0]);
            store.add(label, [&a[..], &b].into_iter()).unwrap();
        };
        add(&mut store, 3);
        add(&mut store, 7);
        for wanted in [vec![3, 7], vec![3, 7, 9]] {
            let mut seen = Vec::new();
            store
                .each(|label, trunks| {
                    assert_eq!(trunks, [&[label as f32, 0.5][..], &[-1.0]]);
                    seen.push(label);
                })
                .unwrap();
            assert_eq!(seen, wanted);
            add(&mut store, 9);
        }
        assert!(path.exists());
        drop(store);
        assert!(!path.exists());
        assert!(FeatureStore::new(&folder.path().join("none/x"), vec![1]).is_err());
    }
}

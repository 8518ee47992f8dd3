//! Result files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::EvalError;

/// Writes beside the final path and takes its name when finished; a previous file stays until then.
#[derive(Debug)]
pub(crate) struct WholeFile {
    writer: Option<BufWriter<File>>,
    partial: PathBuf,
    path: PathBuf,
}

impl WholeFile {
    /// Starts the file, making missing folders.
    pub(crate) fn create(path: &Path) -> Result<Self, EvalError> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".partial");
        let partial = path.with_file_name(name);
        let open = || {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            File::create(&partial)
        };
        let file = open().map_err(|source| EvalError::Write {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            writer: Some(BufWriter::new(file)),
            partial,
            path: path.to_owned(),
        })
    }

    /// An input-output failure of this file as an error that names it.
    pub(crate) fn failed(&self, source: io::Error) -> EvalError {
        EvalError::Write {
            path: self.path.clone(),
            source,
        }
    }

    /// Completes the file under its final name.
    pub(crate) fn finish(mut self) -> Result<(), EvalError> {
        let result = match self.writer.take() {
            Some(writer) => writer
                .into_inner()
                .map_err(io::IntoInnerError::into_error)
                .and_then(|file| file.sync_all())
                .and_then(|()| fs::rename(&self.partial, &self.path)),
            None => Ok(()),
        };
        result.map_err(|source| {
            // The message about the failure matters more than one about the leftover.
            let _ = fs::remove_file(&self.partial);
            self.failed(source)
        })
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.writer {
            Some(writer) => writer.write(bytes),
            None => Err(io::Error::other("the file is already finished")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        // Still open: given up before it was finished.
        if self.writer.take().is_some() {
            let _ = fs::remove_file(&self.partial);
        }
    }
}

/// Writes an array for `numpy.load`: format version 1.0, little-endian doubles, the last axis fastest.
pub(crate) fn write_npy(path: &Path, shape: &[usize], values: &[f64]) -> Result<(), EvalError> {
    debug_assert_eq!(shape.iter().product::<usize>(), values.len());
    let sides: String = shape.iter().map(|side| format!("{side}, ")).collect();
    let header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({sides}), }}");
    // The magic bytes, version and length are 10 bytes; all of it is to be a multiple of 64.
    let length = (10 + header.len() + 1).next_multiple_of(64) - 10;
    let mut file = WholeFile::create(path)?;
    let mut write = |bytes: &[u8]| file.write_all(bytes);
    let written = write(b"\x93NUMPY\x01\x00")
        .and_then(|()| write(&(length as u16).to_le_bytes()))
        .and_then(|()| write(format!("{header:<0$}\n", length - 1).as_bytes()))
        .and_then(|()| {
            values
                .iter()
                .try_for_each(|value| write(&value.to_le_bytes()))
        });
    written.map_err(|source| file.failed(source))?;
    file.finish()
}

/// A whole file of comma-separated records.
#[derive(Debug)]
pub(crate) struct CsvFile {
    csv: csv::Writer<WholeFile>,
}

impl CsvFile {
    /// Starts the file with its header.
    pub(crate) fn create(path: &Path, columns: &[&str]) -> Result<Self, EvalError> {
        let mut file = Self {
            csv: csv::Writer::from_writer(WholeFile::create(path)?),
        };
        file.row(columns)?;
        Ok(file)
    }

    /// Writes one record.
    pub(crate) fn row<I>(&mut self, fields: I) -> Result<(), EvalError>
    where
        I: IntoIterator,
        I::Item: AsRef<[u8]>,
    {
        self.csv.write_record(fields).map_err(|error| {
            let source = match error.into_kind() {
                csv::ErrorKind::Io(source) => source,
                other => io::Error::other(format!("{other:?}")),
            };
            self.csv.get_ref().failed(source)
        })
    }

    /// Completes the file under its final name.
    pub(crate) fn finish(mut self) -> Result<(), EvalError> {
        self.csv
            .flush()
            .map_err(|source| self.csv.get_ref().failed(source))?;
        match self.csv.into_inner() {
            Ok(file) => file.finish(),
            // Nothing is left to fail after the flush, but that is not worth a panic.
            Err(error) => {
                let source = io::Error::other(error.to_string());
                Err(error.into_inner().get_ref().failed(source))
            }
        }
    }
}

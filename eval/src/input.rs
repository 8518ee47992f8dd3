//! Whole input files: plain, gzip-compressed, or from standard input.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::error::EvalError;

/// How standard input is written on a command line.
const STANDARD_INPUT: &str = "-";

/// An open input. `-` is standard input; gzip is known by its first bytes, not by the file's name.
pub(crate) struct Input {
    reader: Box<dyn Read + Send>,
    name: PathBuf,
}

impl Input {
    /// Opens a file, or standard input.
    pub(crate) fn open(path: &Path) -> Result<Self, EvalError> {
        let name = input_name(path);
        let plain: Box<dyn Read + Send> = if path.as_os_str() == STANDARD_INPUT {
            Box::new(io::stdin())
        } else {
            match File::open(path) {
                Ok(file) => Box::new(file),
                Err(source) => return Err(EvalError::Read { path: name, source }),
            }
        };
        Self::new(plain, name)
    }

    fn new(mut plain: Box<dyn Read + Send>, name: PathBuf) -> Result<Self, EvalError> {
        const GZIP: [u8; 2] = [0x1f, 0x8b];
        let mut first = Vec::with_capacity(GZIP.len());
        if let Err(source) = (&mut plain).take(GZIP.len() as u64).read_to_end(&mut first) {
            return Err(EvalError::Read { path: name, source });
        }
        let zipped = first == GZIP;
        let whole = io::Cursor::new(first).chain(plain);
        let reader: Box<dyn Read + Send> = if zipped {
            Box::new(MultiGzDecoder::new(whole))
        } else {
            Box::new(whole)
        };
        Ok(Self { reader, name })
    }

    /// Of bytes at hand.
    pub(crate) fn from_bytes(name: &Path, bytes: Vec<u8>) -> Self {
        Self {
            reader: Box::new(io::Cursor::new(bytes)),
            name: name.to_owned(),
        }
    }

    /// What errors call it.
    pub(crate) fn name(&self) -> &Path {
        &self.name
    }

    /// Appends up to `most` bytes to `out`; fewer only at the end of the input.
    pub(crate) fn read_more(&mut self, most: usize, out: &mut Vec<u8>) -> Result<usize, EvalError> {
        out.reserve(most);
        (&mut self.reader)
            .take(most as u64)
            .read_to_end(out)
            .map_err(|source| EvalError::Read {
                path: self.name.clone(),
                source,
            })
    }
}

impl Read for Input {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.reader.read(out)
    }
}

/// The path as errors name it.
pub(crate) fn input_name(path: &Path) -> PathBuf {
    if path.as_os_str() == STANDARD_INPUT {
        PathBuf::from("standard input")
    } else {
        path.to_owned()
    }
}

/// Everything in a file or on standard input.
pub(crate) fn read_whole(path: &Path) -> Result<Vec<u8>, EvalError> {
    let mut bytes = Vec::new();
    // The size is a hint for a file of ordinary kind; what is read is what is there.
    if let Ok(data) = path.metadata()
        && data.is_file()
    {
        bytes.reserve_exact((data.len() as usize).saturating_add(1).min(1 << 32));
    }
    let mut input = Input::open(path)?;
    input
        .reader
        .read_to_end(&mut bytes)
        .map_err(|source| EvalError::Read {
            path: input.name.clone(),
            source,
        })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn compressed_files_read_like_plain_ones_whatever_their_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.json");
        let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        zipped.write_all(b"[1, 2, 3]").unwrap();
        let zipped = zipped.finish().unwrap();
        for bytes in [b"[1, 2, 3]".to_vec(), zipped.clone()] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(read_whole(&path).unwrap(), b"[1, 2, 3]");
            let mut input = Input::open(&path).unwrap();
            let mut out = Vec::new();
            assert_eq!(input.read_more(4, &mut out).unwrap(), 4);
            assert_eq!(input.read_more(40, &mut out).unwrap(), 5);
            assert_eq!(out, b"[1, 2, 3]");
        }
        for short in [&b""[..], b"x"] {
            std::fs::write(&path, short).unwrap();
            assert_eq!(read_whole(&path).unwrap(), short);
        }
        std::fs::write(&path, &zipped[..zipped.len() - 3]).unwrap();
        let error = read_whole(&path).unwrap_err().to_string();
        assert!(
            error.contains("results.json") && !error.contains('\n'),
            "{error}"
        );
        assert!(read_whole(&folder.path().join("none")).is_err());
    }
}

//! Where a pickle's bytes come from.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::sync::Arc;

use super::super::error::{Problem, damaged};
use super::value::Blob;

/// Byte strings longer than this stay in the file until a tensor needs them.
const LONG: u64 = 16 * 1024;

/// A reader that knows how much is left, so that no length in the file has to be trusted.
pub(crate) trait Source {
    /// Fills the buffer.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Problem>;
    /// The next `len` bytes.
    fn blob(&mut self, len: u64) -> Result<Blob, Problem>;
    /// Bytes up to the next line feed, which is consumed and left out.
    fn line(&mut self) -> Result<Vec<u8>, Problem>;
    /// Bytes not read yet.
    fn remaining(&self) -> u64;

    /// The next `N` bytes.
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        let mut buffer = [0; N];
        self.fill(&mut buffer)?;
        Ok(buffer)
    }

    /// Fails where fewer than `len` bytes are left.
    fn check(&self, len: u64) -> Result<(), Problem> {
        if len > self.remaining() {
            return damaged(format!(
                "{len} bytes are announced where {} are left",
                self.remaining()
            ));
        }
        Ok(())
    }
}

/// Part of a file, read in order.
pub(crate) struct FileSource {
    reader: BufReader<File>,
    position: u64,
    end: u64,
}

impl FileSource {
    /// Reads `start..end` of the file.
    pub(crate) fn new(mut file: File, start: u64, end: u64) -> Result<Self, Problem> {
        file.seek(SeekFrom::Start(start))?;
        Ok(Self {
            reader: BufReader::with_capacity(64 * 1024, file),
            position: start,
            end,
        })
    }

    /// Offset in the file of the next byte.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Passes over `len` bytes.
    pub(crate) fn skip(&mut self, len: u64) -> Result<(), Problem> {
        self.check(len)?;
        // `check` keeps `len` below the file's length, which the system counts in an i64.
        self.reader.seek_relative(len as i64)?;
        self.position += len;
        Ok(())
    }
}

impl Source for FileSource {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Problem> {
        self.check(buffer.len() as u64)?;
        self.reader.read_exact(buffer)?;
        self.position += buffer.len() as u64;
        Ok(())
    }

    fn blob(&mut self, len: u64) -> Result<Blob, Problem> {
        self.check(len)?;
        if len > LONG {
            let offset = self.position;
            self.skip(len)?;
            return Ok(Blob::File { offset, len });
        }
        let mut bytes = vec![0; len as usize];
        self.fill(&mut bytes)?;
        Ok(Blob::Memory(bytes.into()))
    }

    fn line(&mut self) -> Result<Vec<u8>, Problem> {
        let mut line = Vec::new();
        let left = self.remaining();
        let read = (&mut self.reader).take(left).read_until(b'\n', &mut line)?;
        self.position += read as u64;
        if line.pop() != Some(b'\n') {
            return damaged("its pickle ends in the middle of a line");
        }
        Ok(line)
    }

    fn remaining(&self) -> u64 {
        self.end.saturating_sub(self.position)
    }
}

/// Bytes in memory: the pickle of an archive that somebody compressed again.
pub(crate) struct MemorySource {
    bytes: Vec<u8>,
    position: usize,
}

impl MemorySource {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, position: 0 }
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.position..]
    }
}

impl Source for MemorySource {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Problem> {
        self.check(buffer.len() as u64)?;
        buffer.copy_from_slice(&self.rest()[..buffer.len()]);
        self.position += buffer.len();
        Ok(())
    }

    fn blob(&mut self, len: u64) -> Result<Blob, Problem> {
        self.check(len)?;
        let bytes: Arc<[u8]> = self.rest()[..len as usize].into();
        self.position += bytes.len();
        Ok(Blob::Memory(bytes))
    }

    fn line(&mut self) -> Result<Vec<u8>, Problem> {
        let rest = self.rest();
        let Some(end) = rest.iter().position(|&byte| byte == b'\n') else {
            return damaged("its pickle ends in the middle of a line");
        };
        let line = rest[..end].to_vec();
        self.position += end + 1;
        Ok(line)
    }

    fn remaining(&self) -> u64 {
        self.rest().len() as u64
    }
}

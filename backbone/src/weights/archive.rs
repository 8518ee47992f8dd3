//! The zip container of `torch.save` and `torch.jit.save`: its directory, and where each entry's
//! bytes lie in the file.
//!
//! A reader of its own, because storages are to be read from their place in the file, without the
//! whole file in memory, and nothing in the directory is to be trusted. Entries are stored or, in
//! archives that a download tool packed again, deflated. Source: PKWARE's APPNOTE 6.3.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use flate2::read::DeflateDecoder;

use super::error::{Problem, damaged};

/// Deflate cannot make bytes from less than a 1032nd of them.
const DEFLATE_LIMIT: u64 = 1032;

/// One entry of the archive.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Offset of its first byte in the file.
    pub(super) start: u64,
    /// Bytes in the file.
    pub(super) packed: u64,
    /// Bytes of its contents.
    pub(super) bytes: u64,
    pub(super) deflated: bool,
    /// Checksum of its contents; PyTorch can be told to leave it out.
    pub(super) crc: Option<u32>,
}

/// Entries by name.
#[derive(Debug)]
pub(super) struct Archive {
    entries: HashMap<String, Entry>,
}

impl Archive {
    /// Reads the directory at the end of the file.
    pub(super) fn open(file: &mut File) -> Result<Self, Problem> {
        let length = file.seek(SeekFrom::End(0))?;
        let (start, size) = find_directory(file, length)?;
        if start.checked_add(size).is_none_or(|end| end > length) {
            return damaged("its zip directory lies beyond its end");
        }
        let directory = read_at(file, start, size)?;
        let mut entries = HashMap::new();
        let mut rest = directory.as_slice();
        while let Some(header) = rest
            .get(..46)
            .filter(|header| header.starts_with(b"PK\x01\x02"))
        {
            let (name_len, extra_len, comment_len) =
                (u16_at(header, 28), u16_at(header, 30), u16_at(header, 32));
            let end = 46 + usize::from(name_len) + usize::from(extra_len);
            let Some(variable) = rest.get(46..end) else {
                return damaged("its zip directory is cut off");
            };
            let (name, extra) = variable.split_at(usize::from(name_len));
            let (name, entry) = read_entry(file, length, header, name, extra)?;
            entries.insert(name, entry);
            rest = rest.get(end + usize::from(comment_len)..).unwrap_or(&[]);
        }
        Ok(Self { entries })
    }

    pub(super) fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// The folder in which `data.pkl` lies, with its slash; empty at the root.
    pub(super) fn root(&self) -> Option<String> {
        let folders = self.entries.keys().filter_map(|name| {
            let folder = name.strip_suffix("data.pkl")?;
            (folder.is_empty() || folder.ends_with('/')).then_some(folder)
        });
        folders
            .min_by_key(|folder| (folder.len(), *folder))
            .map(str::to_owned)
    }
}

impl Entry {
    /// Its contents.
    pub(super) fn read(&self, file: &mut File, name: &str) -> Result<Vec<u8>, Problem> {
        let mut bytes = Vec::new();
        self.read_into(file, name, &mut bytes)?;
        Ok(bytes)
    }

    /// Replaces what is in `bytes` by its contents, inflated where they are deflated and compared
    /// with the checksum.
    pub(super) fn read_into(
        &self,
        file: &mut File,
        name: &str,
        bytes: &mut Vec<u8>,
    ) -> Result<(), Problem> {
        if self.deflated {
            file.seek(SeekFrom::Start(self.start))?;
            bytes.clear();
            // One byte more than announced shows an entry that is longer than it says.
            DeflateDecoder::new(file.take(self.packed))
                .take(self.bytes + 1)
                .read_to_end(bytes)
                .map_err(|_| Problem::Damaged(format!("{name} cannot be decompressed")))?;
        } else {
            read_at_into(file, self.start, self.packed, bytes)?;
        }
        if bytes.len() as u64 != self.bytes {
            return damaged(format!("{name} is not as long as the zip directory says"));
        }
        if self.crc.is_some_and(|crc| crc != crc32fast::hash(bytes)) {
            return damaged(format!("the checksum of {name} is wrong"));
        }
        Ok(())
    }
}

/// `len` bytes from `start`; the caller has compared both with the file's length.
fn read_at(file: &mut File, start: u64, len: u64) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    read_at_into(file, start, len, &mut bytes)?;
    Ok(bytes)
}

/// As [`read_at`], replacing what is in `bytes`.
pub(super) fn read_at_into(
    file: &mut File,
    start: u64,
    len: u64,
    bytes: &mut Vec<u8>,
) -> Result<(), Problem> {
    file.seek(SeekFrom::Start(start))?;
    bytes.clear();
    bytes.reserve_exact(len as usize);
    file.take(len).read_to_end(bytes)?;
    if bytes.len() as u64 != len {
        return damaged("it ends too early");
    }
    Ok(())
}

/// Start and size of the directory, from the record at the end of the file.
fn find_directory(file: &mut File, length: u64) -> Result<(u64, u64), Problem> {
    // The record is 22 bytes, a comment of at most 65,535 may follow it.
    let tail_start = length.saturating_sub(22 + 65_535);
    let tail = read_at(file, tail_start, length - tail_start)?;
    let found = tail
        .windows(22)
        .rposition(|record| record.starts_with(b"PK\x05\x06"));
    let Some(at) = found else {
        return damaged("the directory at the end of its zip container is missing");
    };
    let record = &tail[at..];
    let (size, start) = (u32_at(record, 12), u32_at(record, 16));
    // Archives of more than 4 GiB point to a larger record.
    let locator = at.checked_sub(20).map(|from| &tail[from..at]);
    if let Some(locator) = locator.filter(|locator| locator.starts_with(b"PK\x06\x07")) {
        let at = u64_at(locator, 8);
        if at.checked_add(56).is_none_or(|end| end > length) {
            return damaged("its large zip directory lies beyond its end");
        }
        let record = read_at(file, at, 56)?;
        if !record.starts_with(b"PK\x06\x06") {
            return damaged("its large zip directory is missing");
        }
        return Ok((u64_at(&record, 48), u64_at(&record, 40)));
    }
    Ok((u64::from(start), u64::from(size)))
}

fn read_entry(
    file: &mut File,
    length: u64,
    header: &[u8],
    name: &[u8],
    extra: &[u8],
) -> Result<(String, Entry), Problem> {
    let name = String::from_utf8_lossy(name).into_owned();
    if u16_at(header, 8) & 1 == 1 {
        return Err(Problem::Unsupported("an encrypted zip archive".to_owned()));
    }
    let deflated = match u16_at(header, 10) {
        0 => false,
        8 => true,
        method => {
            return Err(Problem::Unsupported(format!(
                "zip compression method {method}"
            )));
        }
    };
    // Sizes of all ones are in an extra field, in this order, each only where needed.
    let mut wide = zip64_field(extra);
    let mut number = |at: usize| match u32_at(header, at) {
        u32::MAX => {
            let (first, rest) = wide.split_at_checked(8)?;
            wide = rest;
            Some(u64_at(first, 0))
        }
        narrow => Some(u64::from(narrow)),
    };
    let (Some(bytes), Some(packed), Some(local)) = (number(24), number(20), number(42)) else {
        return damaged(format!("the zip entry of {name} lacks its size"));
    };
    if local.checked_add(30).is_none_or(|end| end > length) {
        return damaged(format!("{name} lies beyond the end"));
    }
    let local_header = read_at(file, local, 30)?;
    if !local_header.starts_with(b"PK\x03\x04") {
        return damaged(format!("{name} is not where the zip directory says"));
    }
    let variable = u64::from(u16_at(&local_header, 26)) + u64::from(u16_at(&local_header, 28));
    let start = local + 30 + variable;
    let possible = if deflated {
        packed.saturating_mul(DEFLATE_LIMIT)
    } else {
        packed
    };
    if start.checked_add(packed).is_none_or(|end| end > length) || bytes > possible {
        return damaged(format!("{name} is cut off"));
    }
    let crc = Some(u32_at(header, 16)).filter(|&crc| crc != 0);
    Ok((
        name,
        Entry {
            start,
            packed,
            bytes,
            deflated,
            crc,
        },
    ))
}

/// Contents of the extra field that holds 64-bit sizes.
fn zip64_field(mut extra: &[u8]) -> &[u8] {
    while let Some((header, rest)) = extra.split_at_checked(4) {
        let size = usize::from(u16_at(header, 2)).min(rest.len());
        if u16_at(header, 0) == 1 {
            return &rest[..size];
        }
        extra = &rest[size..];
    }
    &[]
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

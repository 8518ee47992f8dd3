//! Writing the zip container of `torch.save`: entries stored, each starting at a multiple of 64
//! bytes, sizes beyond 4 GiB in zip64 records.
//!
//! Source: PKWARE's APPNOTE 6.3; PyTorch `caffe2/serialize/inline_container.cc` for the alignment.

use std::io::{self, Write};

/// Entries' data starts at multiples of this, so that PyTorch can map storages into memory.
const ALIGNMENT: u64 = 64;
/// 1 January 1980: the same weights give the same file.
const DATE: u16 = 0x21;

struct Record {
    name: String,
    start: u64,
    length: u64,
    crc: u32,
}

/// A zip archive in the making.
pub(super) struct ZipWriter<'a, W: Write> {
    out: &'a mut W,
    at: u64,
    records: Vec<Record>,
    /// From this number on a field of 32 bits is too small. Less in tests.
    wide_from: u64,
}

impl<'a, W: Write> ZipWriter<'a, W> {
    pub(super) fn new(out: &'a mut W) -> Self {
        Self {
            out,
            at: 0,
            records: Vec::new(),
            wide_from: u64::from(u32::MAX),
        }
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.at += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    /// An entry of known length and checksum, which `fill` writes.
    pub(super) fn entry<E: From<io::Error>>(
        &mut self,
        name: &str,
        length: u64,
        crc: u32,
        fill: impl FnOnce(&mut W) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.at;
        let wide = length >= self.wide_from;
        let mut extra = Vec::new();
        if wide {
            extra.extend(field(1, &[length, length]));
        }
        // The padding has a header of four bytes and may hold none.
        let before = start + 30 + name.len() as u64 + extra.len() as u64 + 4;
        let padding = before.next_multiple_of(ALIGNMENT) - before;
        extra.extend(u16::to_le_bytes(0x4246)); // "FB", as PyTorch marks it
        extra.extend((padding as u16).to_le_bytes());
        extra.resize(extra.len() + padding as usize, b'Z');
        let mut header = b"PK\x03\x04".to_vec();
        header.extend(fixed(self.narrow(length), self.narrow(length), crc, wide));
        header.extend((name.len() as u16).to_le_bytes());
        header.extend((extra.len() as u16).to_le_bytes());
        header.extend(name.as_bytes());
        header.extend(extra);
        self.put(&header)?;
        fill(self.out)?;
        self.at += length;
        self.records.push(Record {
            name: name.to_owned(),
            start,
            length,
            crc,
        });
        Ok(())
    }

    /// A small entry.
    pub(super) fn small(&mut self, name: &str, contents: &[u8]) -> io::Result<()> {
        let (length, crc) = (contents.len() as u64, crc32fast::hash(contents));
        self.entry(name, length, crc, |out| out.write_all(contents))
    }

    /// Writes the directory.
    pub(super) fn finish(mut self) -> io::Result<()> {
        let directory = self.at;
        for Record {
            name,
            start,
            length,
            crc,
        } in std::mem::take(&mut self.records)
        {
            let mut wide = Vec::new();
            if length >= self.wide_from {
                wide.extend([length, length]);
            }
            if start >= self.wide_from {
                wide.push(start);
            }
            let extra = match wide.as_slice() {
                [] => Vec::new(),
                numbers => field(1, numbers),
            };
            let mut header = b"PK\x01\x02".to_vec();
            header.extend(45_u16.to_le_bytes());
            let sizes = self.narrow(length);
            header.extend(fixed(sizes, sizes, crc, !wide.is_empty()));
            header.extend((name.len() as u16).to_le_bytes());
            header.extend((extra.len() as u16).to_le_bytes());
            header.extend([0; 10]); // no comment, first disk, no attributes
            header.extend(self.narrow(start).to_le_bytes());
            header.extend(name.as_bytes());
            header.extend(extra);
            self.put(&header)?;
            self.records.push(Record {
                name,
                start,
                length,
                crc,
            });
        }
        let (count, end) = (self.records.len() as u64, self.at);
        let size = end - directory;
        let few = u16::try_from(count).ok().filter(|&few| few < u16::MAX);
        if few.is_none() || directory >= self.wide_from || size >= self.wide_from {
            let mut record = b"PK\x06\x06".to_vec();
            record.extend(44_u64.to_le_bytes());
            record.extend([45, 0, 45, 0]);
            record.extend([0; 8]); // this disk, the directory's disk
            for number in [count, count, size, directory] {
                record.extend(number.to_le_bytes());
            }
            record.extend(b"PK\x06\x07");
            record.extend([0; 4]);
            record.extend(end.to_le_bytes());
            record.extend(1_u32.to_le_bytes());
            self.put(&record)?;
        }
        let mut record = b"PK\x05\x06".to_vec();
        record.extend([0; 4]);
        for _ in 0..2 {
            record.extend(few.unwrap_or(u16::MAX).to_le_bytes());
        }
        record.extend(self.narrow(size).to_le_bytes());
        record.extend(self.narrow(directory).to_le_bytes());
        record.extend([0; 2]);
        self.put(&record)
    }

    /// The number, or all ones where it is in an extra field.
    fn narrow(&self, number: u64) -> u32 {
        match u32::try_from(number) {
            Ok(narrow) if number < self.wide_from => narrow,
            _ => u32::MAX,
        }
    }
}

/// What local headers and the directory have in common: version, flags, method, time, checksum,
/// sizes.
fn fixed(packed: u32, length: u32, crc: u32, wide: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(22);
    out.extend(if wide { 45_u16 } else { 20 }.to_le_bytes());
    out.extend([0; 6]); // no flags, stored, midnight
    out.extend(DATE.to_le_bytes());
    for number in [crc, packed, length] {
        out.extend(number.to_le_bytes());
    }
    out
}

/// An extra field of 64-bit numbers.
fn field(id: u16, numbers: &[u64]) -> Vec<u8> {
    let mut out = id.to_le_bytes().to_vec();
    out.extend((8 * numbers.len() as u16).to_le_bytes());
    out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    out
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::super::archive::Archive;
    use super::*;

    /// Read by the archive reader, once with narrow fields and once with every size and offset in
    /// a zip64 record.
    #[test]
    fn archives_are_read_back_with_narrow_and_wide_fields() {
        let folder = tempfile::tempdir().expect("temporary folder");
        for wide_from in [u64::from(u32::MAX), 1] {
            let path = folder.path().join(wide_from.to_string());
            let mut bytes = Vec::new();
            let mut zip = ZipWriter::new(&mut bytes);
            zip.wide_from = wide_from;
            zip.small("a/data.pkl", b"first").expect("written");
            zip.small("a/data/0", &[7; 1000]).expect("written");
            zip.finish().expect("written");
            std::fs::write(&path, &bytes).expect("written");
            let mut file = File::open(&path).expect("opened");
            let archive = Archive::open(&mut file).expect("an archive");
            for (name, wanted) in [("a/data.pkl", &b"first"[..]), ("a/data/0", &[7; 1000])] {
                let entry = archive.get(name).expect("an entry");
                assert_eq!(entry.start % ALIGNMENT, 0);
                assert_eq!(entry.read(&mut file, name).expect("read"), wanted);
            }
        }
    }
}

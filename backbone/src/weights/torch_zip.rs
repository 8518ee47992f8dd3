//! `torch.save` since PyTorch 1.6 and `torch.jit.save`: a zip container with the object's pickle in
//! `data.pkl` and each storage in an entry of its own under `data/`.

use std::fs::File;

use super::archive::Archive;
use super::checkpoint::{Bytes, Format, Index, Place, announced};
use super::error::{Problem, damaged};
use super::pickle::{FileSource, MemorySource, Pickle, parse};
use super::walk::contents;

pub(super) fn open(mut file: File) -> Result<Index, Problem> {
    let archive = Archive::open(&mut file)?;
    let Some(root) = archive.root() else {
        return damaged("it is a zip container without the data.pkl that every checkpoint has");
    };
    if let Some(entry) = archive.get(&format!("{root}byteorder"))
        && entry.bytes <= 16
        && entry.read(&mut file, "byteorder")? == b"big"
    {
        return Err(Problem::Unsupported(
            "a file written on a big-endian machine".to_owned(),
        ));
    }
    let name = format!("{root}data.pkl");
    let Some(entry) = archive.get(&name) else {
        return damaged("its data.pkl is missing");
    };
    let pickle: Pickle = if entry.deflated {
        parse(&mut MemorySource::new(entry.read(&mut file, &name)?))?
    } else {
        parse(&mut FileSource::new(
            file,
            entry.start,
            entry.start + entry.bytes,
        )?)?
    };
    let format = match archive.get(&format!("{root}constants.pkl")) {
        Some(_) => Format::TorchScript,
        None => Format::TorchZip,
    };
    Index::new(format, contents(&pickle)?, |storage| {
        let name = format!("{root}data/{}", storage.key);
        let Some(entry) = archive.get(&name) else {
            return damaged(format!("its storage {name} is missing"));
        };
        let wanted = announced(storage)?;
        if entry.bytes < wanted {
            return damaged(format!(
                "its storage {name} has {} bytes where {wanted} are announced",
                entry.bytes
            ));
        }
        Ok(Bytes {
            name,
            len: entry.bytes,
            place: Place::Archive(entry.clone()),
            swap: 1,
        })
    })
}

//! `torch.save` before PyTorch 1.6: magic number, protocol version and system as pickles, then the
//! object's pickle, the list of storage keys, and the storages one after the other.
//!
//! Source: `torch/serialization.py`, `_legacy_save`.

use std::collections::HashMap;
use std::fs::File;

use super::checkpoint::{Bytes, Format, Index, Place, announced};
use super::error::{Problem, damaged};
use super::kind;
use super::pickle::{FileSource, Object, Pickle, Source, Storage, parse};
use super::walk::contents;

/// The only version of the format there ever was.
const PROTOCOL: i64 = 1001;

pub(super) fn open(file: File, length: u64) -> Result<Index, Problem> {
    let mut source = FileSource::new(file, 0, length)?;
    parse(&mut source)?; // the magic number, compared when the format was told
    let version = parse(&mut source)?;
    if version.int(version.root) != Some(PROTOCOL) {
        return damaged("its protocol number is not PyTorch's");
    }
    let system = parse(&mut source)?;
    if is_big_endian(&system) {
        return Err(Problem::Unsupported(
            "a file written on a big-endian machine".to_owned(),
        ));
    }
    let pickle = parse(&mut source)?;
    let keys = parse(&mut source)?;
    let places = storages(&mut source, &pickle, &keys)?;
    Index::new(Format::TorchLegacy, contents(&pickle)?, |storage| {
        let Some(&(start, len)) = places.get(&storage.key) else {
            return damaged(format!("its storage {} is missing", storage.key));
        };
        let wanted = announced(storage)?;
        if len < wanted {
            return damaged(format!(
                "its storage {} has {len} bytes where {wanted} are announced",
                storage.key
            ));
        }
        Ok(Bytes {
            name: format!("storage {}", storage.key),
            place: Place::File {
                start,
                len,
                latin1: false,
            },
            len,
            swap: 1,
        })
    })
}

fn is_big_endian(system: &Pickle) -> bool {
    let Some(Object::Dict(items)) = system.object(system.root) else {
        return false;
    };
    items.iter().any(|&(key, value)| {
        system.text(key).as_deref() == Some("little_endian") && system.int(value) == Some(0)
    })
}

/// Start and length in bytes of every storage: eight bytes with the number of elements, whose
/// width only the object's pickle knows, then the elements.
fn storages(
    source: &mut FileSource,
    pickle: &Pickle,
    keys: &Pickle,
) -> Result<HashMap<String, (u64, u64)>, Problem> {
    let mut widths: HashMap<&str, u64> = HashMap::new();
    for object in &pickle.objects {
        if let Object::Storage(storage) = object {
            let Storage { key, class, .. } = storage.as_ref();
            let width = kind::from_storage(class).map_or(1, |kind| kind.elt_size_in_bytes());
            widths.insert(key, width as u64);
        }
    }
    let mut places = HashMap::new();
    for &key in keys.sequence(keys.root).unwrap_or(&[]) {
        let Some(key) = keys.text(key) else {
            return damaged("its list of storages holds something else than keys");
        };
        let Some(width) = widths.get(key.as_ref()) else {
            return damaged(format!("its storage {key} is of unknown type"));
        };
        let elements = u64::from_le_bytes(source.bytes()?);
        let Some(len) = elements.checked_mul(*width) else {
            return damaged(format!("its storage {key} announces an impossible size"));
        };
        let start = source.position();
        source
            .skip(len)
            .map_err(|_| Problem::Damaged(format!("it ends in the middle of storage {key}")))?;
        places.insert(key.into_owned(), (start, len));
    }
    Ok(places)
}

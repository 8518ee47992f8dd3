//! What binds a ground truth: two evaluations with the same value were held against the same labels.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::LeaderboardError;

/// SHA-256 of a file's bytes, as lower-case hexadecimal digits.
///
/// # Errors
/// When the file cannot be read.
pub fn file_sha256(path: &Path) -> Result<String, LeaderboardError> {
    let mut digest = Sha256::new();
    feed(path, &mut digest)?;
    Ok(hex(digest))
}

/// Of pictures' names and class numbers, in whatever order they come.
pub fn classes_sha256<'a>(pictures: impl IntoIterator<Item = (&'a str, usize)>) -> String {
    let mut lines: Vec<String> = pictures
        .into_iter()
        .map(|(name, label)| format!("{name}\t{label}\n"))
        .collect();
    lines.sort();
    let mut digest = Sha256::new();
    for line in lines {
        digest.update(line);
    }
    hex(digest)
}

/// Of label maps: their paths within `folder` and their bytes, in whatever order they come.
///
/// # Errors
/// When a map cannot be read.
pub fn labels_sha256(folder: &Path, maps: &[PathBuf]) -> Result<String, LeaderboardError> {
    let mut maps: Vec<&PathBuf> = maps.iter().collect();
    maps.sort();
    let mut digest = Sha256::new();
    for map in maps {
        let mut own = Sha256::new();
        feed(&folder.join(map), &mut own)?;
        digest.update(format!("{}\t{}\n", map.display(), hex(own)));
    }
    Ok(hex(digest))
}

fn feed(path: &Path, digest: &mut Sha256) -> Result<(), LeaderboardError> {
    let mut file = File::open(path).map_err(LeaderboardError::read(path))?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file
            .read(&mut buffer)
            .map_err(LeaderboardError::read(path))?
        {
            0 => return Ok(()),
            count => digest.update(&buffer[..count]),
        }
    }
}

fn hex(digest: Sha256) -> String {
    digest
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_count_and_content_does() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (PathBuf::from("a.png"), PathBuf::from("b.png"));
        std::fs::write(folder.path().join(&a), "one").unwrap();
        std::fs::write(folder.path().join(&b), "two").unwrap();
        let of = |maps: &[PathBuf]| labels_sha256(folder.path(), maps).unwrap();
        let both = of(&[a.clone(), b.clone()]);
        assert_eq!(both, of(&[b.clone(), a.clone()]));
        assert_ne!(both, of(std::slice::from_ref(&a)));
        std::fs::write(folder.path().join(&b), "tow").unwrap();
        assert_ne!(both, of(&[a, b]));

        assert_eq!(
            classes_sha256([("x", 1), ("y", 0)]),
            classes_sha256([("y", 0), ("x", 1)])
        );
        assert_ne!(classes_sha256([("x", 1)]), classes_sha256([("x", 0)]));
    }

    #[test]
    fn a_file_has_the_value_that_sha256sum_prints() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        std::fs::write(&path, "abc").unwrap();
        assert_eq!(
            file_sha256(&path).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert!(file_sha256(&folder.path().join("none")).is_err());
    }
}

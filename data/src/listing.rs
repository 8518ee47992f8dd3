//! Finding picture files under a folder, in torchvision's order.

use std::path::{Path, PathBuf};

use crate::error::DataError;

/// Endings torchvision's `ImageFolder` takes for pictures, in lower case.
const EXTENSIONS: [&str; 9] = [
    ".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp",
];

/// Whether a file name ends like a picture's.
pub(crate) fn is_picture(name: &str) -> bool {
    let bytes = name.as_bytes();
    EXTENSIONS.iter().any(|ending| {
        bytes.len() >= ending.len()
            && bytes[bytes.len() - ending.len()..].eq_ignore_ascii_case(ending.as_bytes())
    })
}

/// Names of the folders directly inside `root`, sorted: torchvision's classes.
pub(crate) fn folders(root: &Path) -> Result<Vec<String>, DataError> {
    let mut names: Vec<String> = entries(root)?
        .into_iter()
        .filter(|e| e.folder)
        .map(|e| e.name)
        .collect();
    names.sort_unstable();
    Ok(names)
}

/// What lies under a folder.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Pictures, as paths relative to the root with `/` between parts.
    pub(crate) pictures: Vec<String>,
    /// Everything else that is a file.
    pub(crate) others: Vec<String>,
}

/// All files under `root/folder`, at any depth; links are followed. Folders in the order of their whole
/// paths as text, names sorted within each, as torchvision's `make_dataset` has it.
pub(crate) fn files(root: &Path, folder: &str) -> Result<Listing, DataError> {
    let mut folders = vec![folder.to_owned()];
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    while let Some(folder) = folders.pop() {
        let depth = folder.split('/').count();
        if depth > MAX_DEPTH {
            return Err(DataError::layout(
                &root.join(&folder),
                "folders are nested too deep, probably through a link to a folder above",
                "remove the link",
            ));
        }
        let mut names = Vec::new();
        for entry in entries(&root.join(&folder))? {
            if entry.folder {
                folders.push(join(&folder, &entry.name));
            } else {
                names.push(entry.name);
            }
        }
        names.sort_unstable();
        found.push((folder, names));
    }
    found.sort_unstable();
    let mut listing = Listing::default();
    for (folder, names) in found {
        for name in names {
            let list = if is_picture(&name) {
                &mut listing.pictures
            } else {
                &mut listing.others
            };
            list.push(join(&folder, &name));
        }
    }
    Ok(listing)
}

/// Deeper than any data set; a loop of links would go on for ever.
const MAX_DEPTH: usize = 32;

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        name.to_owned()
    } else {
        format!("{folder}/{name}")
    }
}

struct Entry {
    name: String,
    folder: bool,
}

fn entries(folder: &Path) -> Result<Vec<Entry>, DataError> {
    let failed = |source| DataError::read(folder, source);
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        // A link's target decides; a dangling link counts as a file, whose reading then fails by name.
        let is_folder = if kind.is_symlink() {
            entry.path().is_dir()
        } else {
            kind.is_dir()
        };
        let name = entry.file_name().into_string().map_err(|name| {
            DataError::layout(
                &folder.join(PathBuf::from(name)),
                "its name is not valid UTF-8",
                "rename it",
            )
        })?;
        all.push(Entry {
            name,
            folder: is_folder,
        });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picture_endings_are_torchvisions() {
        for name in ["a.jpg", "a.JPEG", "x.y.Png", ".jpg", "a.tiff", "a.webp"] {
            assert!(is_picture(name), "{name}");
        }
        for name in ["a.gif", "ajpg", "a.jpg.txt", "Thumbs.db", "é", ""] {
            assert!(!is_picture(name), "{name}");
        }
    }

    /// torchvision 0.26 on this tree: `os.walk` roots are sorted as text, so `c-d` comes before `c/…`.
    #[test]
    fn files_come_in_torchvisions_order() {
        let root = tempfile::tempdir().unwrap();
        for file in [
            "c/b.png",
            "c/a.JPG",
            "c/z/0.jpg",
            "c/Y/1.jpg",
            "c/z-a/2.jpg",
            "c/z/k/3.jpg",
            "c/notes.txt",
        ] {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"").unwrap();
        }
        let listing = files(root.path(), "c").unwrap();
        assert_eq!(
            listing.pictures,
            [
                "c/a.JPG",
                "c/b.png",
                "c/Y/1.jpg",
                "c/z/0.jpg",
                "c/z-a/2.jpg",
                "c/z/k/3.jpg"
            ]
        );
        assert_eq!(listing.others, ["c/notes.txt"]);
        assert_eq!(folders(root.path()).unwrap(), ["c"]);
    }
}

//! Which label map belongs to which picture.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::DataError;
use crate::listing;

/// Folders of pictures and label maps. A picture and its label map have the same path below them but for the
/// ending; where only one of the folders has subfolders, the same file name. Cityscapes' names
/// (`x_leftImg8bit.png` and `x_gtFine_labelTrainIds.png`) belong together too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentationSource {
    /// Folder of the pictures, such as `images/training`.
    pub images: PathBuf,
    /// Folder of the label maps, such as `annotations/training`: PNG files of class numbers.
    pub labels: PathBuf,
}

impl SegmentationSource {
    /// The same with its paths under `root`; absolute ones stay.
    pub fn under(&self, root: &Path) -> Self {
        Self {
            images: root.join(&self.images),
            labels: root.join(&self.labels),
        }
    }
}

/// How Cityscapes' pictures end.
const PICTURE_ENDING: &str = "_leftImg8bit";
/// How Cityscapes' label maps of the 19 evaluated classes end.
const LABEL_ENDINGS: [&str; 2] = ["_gtFine_labelTrainIds", "_gtCoarse_labelTrainIds"];

/// A picture and its label map, as paths below their folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair {
    pub picture: String,
    pub label: String,
}

/// What two folders hold.
#[derive(Debug)]
pub(super) struct Pairs {
    /// Sorted by picture.
    pub pairs: Vec<Pair>,
    /// Pictures without a label map.
    pub without_label: Vec<String>,
    /// Label maps without a picture.
    pub without_picture: Vec<String>,
    /// Cityscapes' files that are not label maps of the evaluated classes.
    pub set_aside: usize,
}

/// Files by what they are called but for the ending.
type Files = BTreeMap<String, String>;

impl Pairs {
    /// Lists both folders.
    ///
    /// # Errors
    /// When one cannot be listed or holds nothing of use, or names are ambiguous.
    pub(super) fn list(source: &SegmentationSource) -> Result<Self, DataError> {
        let (images, labels) = (&source.images, &source.labels);
        let pictures = visible(images)?;
        if pictures.is_empty() {
            return Err(DataError::layout(
                images,
                "there is no picture in it or its subfolders",
                "check the path",
            ));
        }
        let mut maps = visible(labels)?;
        maps.retain(|name| name.to_ascii_lowercase().ends_with(".png"));
        if maps.is_empty() {
            return Err(DataError::layout(
                labels,
                "there is no label map (*.png) in it or its subfolders",
                "check the path",
            ));
        }
        let cityscapes = pictures
            .iter()
            .any(|name| stem(name).ends_with(PICTURE_ENDING));
        let all = maps.len();
        if cityscapes {
            maps.retain(|name| LABEL_ENDINGS.iter().any(|end| stem(name).ends_with(end)));
            if maps.is_empty() {
                return Err(DataError::layout(
                    labels,
                    format!("there is no label map called *{}.png", LABEL_ENDINGS[0]),
                    "make them with createTrainIdLabelImgs of cityscapesscripts",
                ));
            }
        }
        let set_aside = all - maps.len();
        let nested = |names: &[String]| names.iter().any(|name| name.contains('/'));
        let flat = nested(&pictures) != nested(&maps);
        let pictures = keyed(pictures, images, flat)?;
        let mut maps = keyed(maps, labels, flat)?;
        let mut found = Self {
            pairs: Vec::with_capacity(pictures.len()),
            without_label: Vec::new(),
            without_picture: Vec::new(),
            set_aside,
        };
        for (key, picture) in pictures {
            match maps.remove(&key) {
                Some(label) => found.pairs.push(Pair { picture, label }),
                None => found.without_label.push(picture),
            }
        }
        found.without_picture = maps.into_values().collect();
        found.pairs.sort_by(|a, b| a.picture.cmp(&b.picture));
        found.without_label.sort_unstable();
        found.without_picture.sort_unstable();
        Ok(found)
    }

    /// The pairs, where nothing is left over.
    ///
    /// # Errors
    /// When a picture has no label map, or the other way round.
    pub(super) fn complete(self, source: &SegmentationSource) -> Result<Vec<Pair>, DataError> {
        match self.left_over(source).into_iter().next() {
            Some(error) => Err(error),
            None => Ok(self.pairs),
        }
    }

    /// What is wrong with the pairing, a sentence each.
    pub(super) fn left_over(&self, source: &SegmentationSource) -> Vec<DataError> {
        let mut problems = Vec::new();
        if let Some(first) = self.without_label.first() {
            let all = self.without_label.len() + self.pairs.len();
            problems.push(DataError::layout(
                &source.images,
                format!(
                    "{} of {all} pictures have no label map of their name in {}, the first is {first}",
                    self.without_label.len(),
                    source.labels.display()
                ),
                if self.pairs.is_empty() {
                    "check that both folders are of the same part of the data set"
                } else {
                    "add the label maps, or remove the pictures"
                },
            ));
        }
        if let Some(first) = self.without_picture.first() {
            let all = self.without_picture.len() + self.pairs.len();
            problems.push(DataError::layout(
                &source.labels,
                format!(
                    "{} of {all} label maps have no picture of their name in {}, the first is {first}",
                    self.without_picture.len(),
                    source.images.display()
                ),
                "add the pictures, or remove the label maps",
            ));
        }
        problems
    }
}

/// Pictures under a folder, without those whose own name begins with a dot ("._x.png" and the like).
fn visible(folder: &Path) -> Result<Vec<String>, DataError> {
    let mut names = listing::files(folder, "")?.pictures;
    names.retain(|name| !file_name(name).starts_with('.'));
    Ok(names)
}

fn file_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// A path without its ending; listed pictures have one.
fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

fn keyed(names: Vec<String>, folder: &Path, flat: bool) -> Result<Files, DataError> {
    let mut files = Files::new();
    for name in names {
        let own = if flat { file_name(&name) } else { &name };
        let own = stem(own);
        let endings = LABEL_ENDINGS.iter().chain([&PICTURE_ENDING]);
        let key = endings
            .filter_map(|ending| own.strip_suffix(ending))
            .next()
            .unwrap_or(own)
            .to_owned();
        if let Some(other) = files.insert(key, name.clone()) {
            return Err(DataError::layout(
                &folder.join(&name),
                format!("it has the same name as {}", folder.join(other).display()),
                "remove or rename one of them; pictures and label maps belong into different folders",
            ));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(files: &[&str]) -> Result<Pairs, DataError> {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"").unwrap();
        }
        let source = SegmentationSource {
            images: "i".into(),
            labels: "l".into(),
        };
        Pairs::list(&source.under(root.path()))
    }

    fn told(files: &[&str]) -> Vec<(String, String)> {
        let pairs = listed(files).unwrap();
        assert!(pairs.without_label.is_empty() && pairs.without_picture.is_empty());
        pairs
            .pairs
            .into_iter()
            .map(|pair| (pair.picture, pair.label))
            .collect()
    }

    fn pair(picture: &str, label: &str) -> (String, String) {
        (picture.to_owned(), label.to_owned())
    }

    #[test]
    fn flat_and_nested_folders_pair() {
        let flat = told(&[
            "i/b.jpg",
            "l/b.png",
            "i/a.x.JPG",
            "l/a.x.PNG",
            "l/._b.png",
            "i/n.txt",
        ]);
        assert_eq!(flat, [pair("a.x.JPG", "a.x.PNG"), pair("b.jpg", "b.png")]);
        let nested = told(&["i/u/a.jpg", "i/v/a.jpg", "l/v/a.png", "l/u/a.png"]);
        assert_eq!(
            nested,
            [pair("u/a.jpg", "u/a.png"), pair("v/a.jpg", "v/a.png")]
        );
        let one_sided = told(&["i/u/a.jpg", "i/v/b.jpg", "l/a.png", "l/b.png"]);
        assert_eq!(
            one_sided,
            [pair("u/a.jpg", "a.png"), pair("v/b.jpg", "b.png")]
        );
    }

    #[test]
    fn cityscapes_names_pair_and_its_other_files_are_left_alone() {
        let pairs = told(&[
            "i/ulm/ulm_0_1_leftImg8bit.png",
            "l/ulm/ulm_0_1_gtFine_labelTrainIds.png",
            "l/ulm/ulm_0_1_gtFine_labelIds.png",
            "l/ulm/ulm_0_1_gtFine_color.png",
        ]);
        assert_eq!(
            pairs,
            [pair(
                "ulm/ulm_0_1_leftImg8bit.png",
                "ulm/ulm_0_1_gtFine_labelTrainIds.png"
            )]
        );
        let error = listed(&["i/a_leftImg8bit.png", "l/a_gtFine_labelIds.png"]).unwrap_err();
        assert!(error.to_string().contains("createTrainIdLabelImgs"));
    }

    #[test]
    fn what_has_no_partner_is_counted_and_named() {
        let source = SegmentationSource {
            images: "i".into(),
            labels: "l".into(),
        };
        let pairs = listed(&["i/a.jpg", "i/b.jpg", "i/c.jpg", "l/b.png", "l/z.png"]).unwrap();
        let told: Vec<String> = pairs
            .left_over(&source)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert!(told[0].starts_with("i: 2 of 3 pictures have no label map"));
        assert!(told[0].contains("the first is a.jpg; add"));
        assert!(told[1].starts_with("l: 1 of 2 label maps have no picture"));
        assert!(told[1].contains("z.png"));
        assert!(pairs.complete(&source).is_err());
    }

    #[test]
    fn empty_folders_and_ambiguous_names_are_refused() {
        let problem = |files: &[&str]| listed(files).unwrap_err().to_string();
        assert!(problem(&["i/a.txt", "l/a.png"]).contains("there is no picture"));
        assert!(problem(&["i/a.jpg", "l/a.jpg"]).contains("there is no label map"));
        assert!(problem(&["i/a.jpg", "i/a.png", "l/a.png"]).contains("the same name as"));
        let twice = problem(&["i/u/a.jpg", "i/v/a.jpg", "l/a.png"]);
        assert!(
            twice.contains("v/a.jpg: it has the same name as"),
            "{twice}"
        );
        assert!(problem(&["l/a.png"]).contains("cannot be read"));
    }
}

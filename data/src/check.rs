//! `data check`: what is wrong with a classification data set, before hours of training.

use std::collections::HashMap;
use std::hash::Hasher;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use crate::classes::Class;
use crate::classification::{
    ClassificationConfig, ClassificationDataset, ClassificationSource, list_folders, read_into,
};
use crate::codec::{Colour, PictureInfo, decode_into};
use crate::dataset::Dataset;
use crate::error::DataError;
use crate::image::RgbImage;
use crate::report::{CheckReport, Finding, Severity, SplitSummary};
use crate::transform::Transform;
use crate::transform_config::EvalTransformConfig;

/// What to look at.
#[derive(Debug, Clone, Default)]
pub struct CheckOptions {
    /// Training part.
    pub train: Option<ClassificationConfig>,
    /// Validation part.
    pub val: Option<ClassificationConfig>,
    /// How many classes there should be.
    pub expected_classes: Option<usize>,
}

/// Findings of one kind that are listed one by one; the rest are only counted.
const LISTED: usize = 20;
/// A picture with a shorter side than this is probably a thumbnail or a mistake.
const TINY_SIDE: usize = 16;
/// Classes whose sizes differ by more than this factor are worth a note.
const UNBALANCED: usize = 10;

/// Reads every picture of a data set and reports all that is wrong. `progress` is called with pictures done
/// and pictures in all, from several threads.
///
/// # Errors
/// When there is nothing to check, or the check itself fails. What is wrong with the data is in the report.
pub fn check_classification(
    options: &CheckOptions,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<CheckReport, DataError> {
    let mut findings = Findings::default();
    let mut parts = Vec::new();
    for (name, config) in [("train", &options.train), ("val", &options.val)] {
        if let Some(config) = config {
            match Part::list(name, config, &mut findings) {
                Ok(part) => parts.push(part),
                Err(error) => findings.add(Severity::Error, error.to_string()),
            }
        }
    }
    if parts.is_empty() && findings.all.is_empty() {
        return Err(DataError::config(
            "data",
            "give a training or a validation part to check",
        ));
    }
    for part in &parts {
        part.check_classes(options.expected_classes, &mut findings);
    }
    if let [train, val] = parts.as_slice() {
        compare_classes(train, val, &mut findings);
    }
    let looks = look_at_all(&parts, progress);
    let splits = parts
        .iter()
        .zip(&looks)
        .map(|(part, looks)| part.summarise(looks, &mut findings))
        .collect();
    find_duplicates(&parts, &looks, &mut findings);
    findings.all.sort_by_key(|finding| finding.severity);
    Ok(CheckReport {
        splits,
        findings: findings.all,
    })
}

/// Reads every picture of every part on all cores; `progress` as in [`check_classification`].
pub(crate) fn look_at_all(
    parts: &[impl AsRef<Part> + Sync],
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Vec<Vec<Look>> {
    let total = parts.iter().map(|part| part.as_ref().items.len()).sum();
    let done = AtomicUsize::new(0);
    let look_at = |part: &Part| {
        let items = part.items.par_iter();
        items
            .map(|(name, _)| {
                let look = look(&part.root.join(name));
                progress(done.fetch_add(1, Ordering::Relaxed) + 1, total);
                look
            })
            .collect()
    };
    parts.iter().map(|part| look_at(part.as_ref())).collect()
}

/// Findings as they come.
#[derive(Default)]
pub(crate) struct Findings {
    pub(crate) all: Vec<Finding>,
}

impl Findings {
    pub(crate) fn add(&mut self, severity: Severity, message: impl Into<String>) {
        self.all.push(Finding {
            severity,
            message: message.into(),
        });
    }

    /// The first few one by one, then how many more.
    pub(crate) fn list(&mut self, severity: Severity, messages: Vec<String>, more: &str) {
        let rest = messages.len().saturating_sub(LISTED);
        for message in messages.into_iter().take(LISTED) {
            self.add(severity, message);
        }
        if rest > 0 {
            self.add(severity, format!("and {rest} more {more}"));
        }
    }
}

/// `train` or `val`, listed.
pub(crate) struct Part {
    pub(crate) split: &'static str,
    pub(crate) root: PathBuf,
    /// Path under the root and label of each picture.
    pub(crate) items: Vec<(String, i64)>,
    pub(crate) classes: Vec<Class>,
}

impl AsRef<Part> for Part {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl Part {
    fn list(
        split: &'static str,
        config: &ClassificationConfig,
        findings: &mut Findings,
    ) -> Result<Self, DataError> {
        if let ClassificationSource::Folders { root } = &config.source {
            let folders = list_folders(root, config.classes.as_deref())?;
            let empty = folders.empty.iter().map(|folder| {
                format!(
                    "{}: there is no picture in this class folder; add some or remove the folder",
                    root.join(folder).display()
                )
            });
            findings.list(
                Severity::Error,
                empty.collect(),
                &format!("empty class folders in {}", root.display()),
            );
            for hidden in folders
                .labelled
                .classes
                .iter()
                .filter(|class| class.key.starts_with('.'))
            {
                let path = root.join(&hidden.key);
                findings.add(
                    Severity::Warning,
                    format!(
                        "{}: this hidden folder counts as a class; remove it",
                        path.display()
                    ),
                );
            }
            if let Some(first) = folders.others.first() {
                let message = format!(
                    "{}: {} files here are no pictures by their ending and are ignored, the first is {first}; remove or rename them",
                    root.display(),
                    folders.others.len()
                );
                findings.add(Severity::Note, message);
            }
            let items = folders
                .labelled
                .items
                .into_iter()
                .map(|(name, class)| (name, i64::from(class)))
                .collect();
            return Ok(Self {
                split,
                root: root.clone(),
                items,
                classes: folders.labelled.classes,
            });
        }
        // The transform is not used.
        let dataset =
            ClassificationDataset::open(config, Transform::eval(&EvalTransformConfig::new(224))?)?;
        let items = (0..dataset.len())
            .map(|i| (dataset.name(i).to_owned(), dataset.label(i)))
            .collect();
        Ok(Self {
            split,
            root: dataset.root().to_owned(),
            items,
            classes: dataset.classes().to_vec(),
        })
    }

    fn class_sizes(&self) -> Vec<usize> {
        let mut sizes = vec![0; self.classes.len()];
        for (_, label) in &self.items {
            if let Some(size) = usize::try_from(*label)
                .ok()
                .and_then(|label| sizes.get_mut(label))
            {
                *size += 1;
            }
        }
        sizes
    }

    fn check_classes(&self, expected: Option<usize>, findings: &mut Findings) {
        if let Some(expected) = expected.filter(|&expected| expected != self.classes.len()) {
            findings.add(
                Severity::Error,
                format!(
                    "{}: {} classes were found but {expected} expected; add or remove class folders, or correct the number",
                    self.root.display(),
                    self.classes.len()
                ),
            );
        }
        let sizes = self.class_sizes();
        let filled: Vec<usize> = sizes.iter().copied().filter(|&size| size > 0).collect();
        if let (Some(&least), Some(&most)) = (filled.iter().min(), filled.iter().max())
            && most > UNBALANCED * least
        {
            let at = sizes.iter().position(|&size| size == least).unwrap_or(0);
            let message = format!(
                "{}: class sizes differ a lot, from {least} ({}) to {most} pictures; is something missing?",
                self.root.display(),
                self.classes[at].key
            );
            findings.add(Severity::Note, message);
        }
    }

    fn summarise(&self, looks: &[Look], findings: &mut Findings) -> SplitSummary {
        let mut summary = SplitSummary {
            split: self.split.to_owned(),
            root: self.root.clone(),
            classes: self.classes.len(),
            pictures: self.items.len(),
            smallest_class: self.class_sizes().into_iter().min().unwrap_or(0),
            largest_class: self.class_sizes().into_iter().max().unwrap_or(0),
            objects: None,
            labels: None,
            unreadable: 0,
            grey: 0,
            cmyk: 0,
            rotated: 0,
            smallest_side: usize::MAX,
            largest_side: 0,
        };
        let (mut unreadable, mut odd, mut tiny) = (Vec::new(), Vec::new(), Vec::new());
        for ((name, _), look) in self.items.iter().zip(looks) {
            let picture = match &look.picture {
                Ok(picture) => picture,
                Err(message) => {
                    unreadable.push(message.clone());
                    continue;
                }
            };
            summary.grey += usize::from(picture.info.colour == Colour::Grey);
            summary.cmyk += usize::from(picture.info.colour == Colour::Cmyk);
            summary.rotated += usize::from(picture.info.orientation != 1);
            let (short, long) = (
                picture.width.min(picture.height),
                picture.width.max(picture.height),
            );
            summary.smallest_side = summary.smallest_side.min(short);
            summary.largest_side = summary.largest_side.max(long);
            let path = self.root.join(name);
            if short < TINY_SIDE {
                let size = format!("{}x{}", picture.width, picture.height);
                tiny.push(format!(
                    "{}: only {size} pixels; is it a thumbnail?",
                    path.display()
                ));
            }
            if let Some(warning) = &picture.info.warning {
                odd.push(format!(
                    "{}: readable but damaged ({warning}); replace it",
                    path.display()
                ));
            }
        }
        summary.unreadable = unreadable.len();
        if summary.largest_side == 0 {
            summary.smallest_side = 0;
        }
        if summary.rotated > 0 {
            let message = format!(
                "{}: {} pictures have an EXIF rotation, which classification ignores as torchvision does; rotate the files if they look turned",
                self.root.display(),
                summary.rotated
            );
            findings.add(Severity::Note, message);
        }
        let place = format!("in {}", self.root.display());
        findings.list(
            Severity::Error,
            unreadable,
            &format!("unreadable pictures {place}"),
        );
        findings.list(Severity::Warning, odd, &format!("damaged pictures {place}"));
        findings.list(Severity::Warning, tiny, &format!("tiny pictures {place}"));
        summary
    }
}

/// Class lists must be equal: a class missing on one side shifts the indices of all after it.
fn compare_classes(train: &Part, val: &Part, findings: &mut Findings) {
    let unlabelled = |part: &Part| part.classes.is_empty();
    if unlabelled(train) || unlabelled(val) {
        return;
    }
    let numbered = |part: &Part| {
        part.classes
            .iter()
            .enumerate()
            .all(|(i, class)| class.key == i.to_string())
    };
    if numbered(train) != numbered(val) && train.classes.len() == val.classes.len() {
        let message = format!(
            "{}: classes are plain numbers on one side only, so their order cannot be compared; give a class list",
            val.root.display()
        );
        findings.add(Severity::Note, message);
        return;
    }
    let differ = train
        .classes
        .iter()
        .zip(&val.classes)
        .position(|(a, b)| a.key != b.key);
    let at = differ.unwrap_or(train.classes.len().min(val.classes.len()));
    if differ.is_none() && train.classes.len() == val.classes.len() {
        return;
    }
    let missing = |from: &Part, other: &Part| -> Vec<String> {
        let known: std::collections::HashSet<&str> =
            other.classes.iter().map(|c| c.key.as_str()).collect();
        from.classes
            .iter()
            .filter(|c| !known.contains(c.key.as_str()))
            .map(|c| c.key.clone())
            .collect()
    };
    let mut same_set = true;
    for (from, other) in [(train, val), (val, train)] {
        let keys = missing(from, other);
        if let Some(first) = keys.first() {
            same_set = false;
            let message = format!(
                "{}: {} classes of {} are missing, the first is {first}, so class index {at} and those after it mean different classes; add the folders or give both parts the same class list",
                other.root.display(),
                keys.len(),
                from.root.display()
            );
            findings.add(Severity::Error, message);
        }
    }
    if same_set {
        let message = format!(
            "{}: the order of classes differs from {}, first at index {at} ({} there, {} here); give both parts the same class list",
            val.root.display(),
            train.root.display(),
            train.classes[at].key,
            val.classes[at].key
        );
        findings.add(Severity::Error, message);
    }
}

/// One picture file, looked at.
pub(crate) struct Look {
    /// Hash and length of the file.
    content: Option<(u64, usize)>,
    pub(crate) picture: Result<Picture, String>,
}

/// A picture as stored, not turned upright.
pub(crate) struct Picture {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) info: PictureInfo,
}

thread_local! {
    static READING: std::cell::RefCell<(Vec<u8>, RgbImage)> = std::cell::RefCell::default();
}

fn look(path: &Path) -> Look {
    READING.with_borrow_mut(|(bytes, image)| {
        if let Err(source) = read_into(path, bytes) {
            return Look {
                content: None,
                picture: Err(DataError::read(path, source).to_string()),
            };
        }
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write(bytes);
        let picture = decode_into(bytes, &path.display().to_string(), image)
            .map(|info| Picture {
                width: image.width,
                height: image.height,
                info,
            })
            .map_err(|error| error.to_string());
        Look {
            content: Some((hasher.finish(), bytes.len())),
            picture,
        }
    })
}

/// Equal files: between parts they leak validation into training, under two classes one label is wrong.
pub(crate) fn find_duplicates(parts: &[Part], looks: &[Vec<Look>], findings: &mut Findings) {
    let mut groups: HashMap<(u64, usize), Vec<(usize, usize)>> = HashMap::new();
    for (part, looks) in looks.iter().enumerate() {
        for (item, look) in looks.iter().enumerate() {
            if let Some(content) = look.content.filter(|content| content.1 > 0) {
                groups.entry(content).or_default().push((part, item));
            }
        }
    }
    let mut groups: Vec<Vec<(usize, usize)>> = groups
        .into_values()
        .filter(|group| group.len() > 1)
        .collect();
    groups.sort_unstable();
    let (mut leaks, mut conflicts, mut repeats) = (Vec::new(), Vec::new(), 0);
    for group in groups {
        let path = |(part, item): (usize, usize)| parts[part].root.join(&parts[part].items[item].0);
        let first = group[0];
        let Ok(content) = std::fs::read(path(first)) else {
            continue;
        };
        for &other in &group[1..] {
            // 64 bits of hash are no proof.
            if std::fs::read(path(other)).is_ok_and(|bytes| bytes != content) {
                continue;
            }
            let key = |(part, item): (usize, usize)| {
                let part = &parts[part];
                usize::try_from(part.items[item].1)
                    .ok()
                    .and_then(|label| part.classes.get(label))
                    .map(|c| &c.key)
            };
            let pair = format!(
                "{} is the same file as {}",
                path(other).display(),
                path(first).display()
            );
            if first.0 != other.0 {
                leaks.push(format!(
                    "{pair}: validation numbers would be too good; remove one"
                ));
            } else if key(first) != key(other) {
                conflicts.push(format!("{pair} but has another class; correct the label"));
            } else {
                repeats += 1;
            }
        }
    }
    findings.list(Severity::Warning, leaks, "pictures that are in both parts");
    findings.list(Severity::Warning, conflicts, "pictures with two classes");
    if repeats > 0 {
        findings.add(Severity::Note, format!("{repeats} pictures are copies of another of the same class and part; remove them if that is not meant"));
    }
}

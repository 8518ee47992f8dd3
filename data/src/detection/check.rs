//! `data check` for detection: what is wrong with pictures and annotations, before days of training.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use eval::Strictness;
use eval::coco::{AnnotationFile, Category, Id, ListedObject};
use rayon::prelude::*;

use super::dataset::DetectionSource;
use super::faults::{Fault, Faults, Surroundings};
use crate::check::{Findings, Look, Part, find_duplicates, look_at_all};
use crate::codec::Colour;
use crate::error::DataError;
use crate::report::{CheckReport, Severity, SplitSummary};

/// What to look at.
#[derive(Debug, Clone, Default)]
pub struct DetectionCheckOptions {
    /// Training part.
    pub train: Option<DetectionSource>,
    /// Validation part.
    pub val: Option<DetectionSource>,
    /// How many classes there should be.
    pub expected_classes: Option<usize>,
}

/// Annotations a thread looks at in one go.
const CHUNK: usize = 1024;

/// One part of the data set, read.
struct Read {
    source: DetectionSource,
    file: AnnotationFile,
    part: Part,
}

/// Reads every picture and annotation of a detection data set and reports all that is wrong. `progress` is
/// called with pictures done and pictures in all, from several threads.
///
/// # Errors
/// When there is nothing to check. What is wrong with the data is in the report.
pub fn check_detection(
    options: &DetectionCheckOptions,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<CheckReport, DataError> {
    let mut findings = Findings::default();
    let mut parts = Vec::new();
    for (split, source) in [("train", &options.train), ("val", &options.val)] {
        if let Some(source) = source {
            match Read::open(split, source, &mut findings) {
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
        check_categories(part, options.expected_classes, &mut findings);
    }
    if let [train, val] = parts.as_slice() {
        compare_categories(train, val, &mut findings);
    }
    let looks = look_at_all(&parts, progress);
    let mut splits = Vec::new();
    for (part, looks) in parts.iter().zip(&looks) {
        let mut summary = part.check_pictures(looks, &mut findings);
        part.check_objects(&mut summary, &mut findings);
        splits.push(summary);
    }
    let parts: Vec<Part> = parts.into_iter().map(|part| part.part).collect();
    find_duplicates(&parts, &looks, &mut findings);
    findings.all.sort_by_key(|finding| finding.severity);
    Ok(CheckReport {
        splits,
        findings: findings.all,
    })
}

impl AsRef<Part> for Read {
    fn as_ref(&self) -> &Part {
        &self.part
    }
}

impl Read {
    fn open(
        split: &'static str,
        source: &DetectionSource,
        findings: &mut Findings,
    ) -> Result<Self, DataError> {
        let (file, skipped) = AnnotationFile::read(&source.annotations, Strictness::Lenient)?;
        if let Some(first) = skipped.first() {
            findings.add(
                Severity::Error,
                format!(
                    "{}: {} annotations cannot be used, first {first}; correct or remove them",
                    source.annotations.display(),
                    skipped.count()
                ),
            );
        }
        // A file listed twice is told as such, and not as a copy.
        let mut seen = HashSet::new();
        let names = file.images.iter().map(|image| image.file_name.clone());
        let items = names
            .filter(|name| !name.is_empty() && seen.insert(name.clone()))
            .map(|name| (name, -1))
            .collect();
        Ok(Self {
            source: source.clone(),
            part: Part {
                split,
                root: source.images.clone(),
                items,
                classes: Vec::new(),
            },
            file,
        })
    }

    /// The annotation file, as messages begin with.
    fn path(&self) -> &Path {
        &self.source.annotations
    }

    fn check_pictures(&self, looks: &[Look], findings: &mut Findings) -> SplitSummary {
        let mut summary = SplitSummary {
            split: self.part.split.to_owned(),
            root: self.source.images.clone(),
            classes: self.file.categories.len(),
            pictures: self.file.images.len(),
            smallest_class: 0,
            largest_class: 0,
            objects: None,
            labels: None,
            unreadable: 0,
            grey: 0,
            cmyk: 0,
            rotated: 0,
            smallest_side: usize::MAX,
            largest_side: 0,
        };
        let file = self.path().display();
        let look_of: HashMap<&str, &Look> = (self
            .part
            .items
            .iter()
            .map(|(name, _)| name.as_str())
            .zip(looks))
        .collect();
        let (mut ids, mut names) = (HashSet::new(), HashSet::new());
        let (mut nameless, mut repeated, mut twice) = (Vec::new(), Vec::new(), Vec::new());
        let (mut unreadable, mut odd) = (Vec::new(), Vec::new());
        let (mut sizes, mut unsized_) = (Vec::new(), Vec::new());
        for image in &self.file.images {
            let id = &image.id;
            if !ids.insert(id) {
                repeated.push(format!(
                    "{file}: picture id {id} is listed again for {}; give every picture its own id",
                    image.file_name
                ));
            }
            if image.file_name.is_empty() {
                nameless.push(format!(
                    "{file}: picture {id} has no file_name; add the picture's path"
                ));
                continue;
            }
            if !names.insert(image.file_name.as_str()) {
                twice.push(format!(
                    "{file}: {} is listed again as picture {id}; list every file once",
                    image.file_name
                ));
                continue;
            }
            let Some(look) = look_of.get(image.file_name.as_str()) else {
                continue;
            };
            let picture = match &look.picture {
                Ok(picture) => picture,
                Err(message) => {
                    unreadable.push(message.clone());
                    continue;
                }
            };
            let path = self.source.images.join(&image.file_name);
            if let Some(warning) = &picture.info.warning {
                odd.push(format!(
                    "{}: readable but damaged ({warning}); replace it",
                    path.display()
                ));
            }
            let upright = picture.info.upright(picture.width, picture.height);
            let told = (image.width as usize, image.height as usize);
            if told.0 == 0 || told.1 == 0 {
                unsized_.push(format!(
                    "{file}: {} has no width or height there; add them",
                    image.file_name
                ));
            } else if told != upright {
                sizes.push(format!(
                    "{}: the picture has {}x{} pixels, but {file} says {}x{}; correct width and height there, or replace the picture",
                    path.display(), upright.0, upright.1, told.0, told.1
                ));
            }
            summary.grey += usize::from(picture.info.colour == Colour::Grey);
            summary.cmyk += usize::from(picture.info.colour == Colour::Cmyk);
            summary.rotated += usize::from(picture.info.orientation != 1);
            summary.smallest_side = summary.smallest_side.min(upright.0.min(upright.1));
            summary.largest_side = summary.largest_side.max(upright.0.max(upright.1));
        }
        summary.unreadable = unreadable.len();
        if summary.largest_side == 0 {
            summary.smallest_side = 0;
        }
        for (severity, messages, more) in [
            (Severity::Error, nameless, "pictures without a file_name"),
            (
                Severity::Error,
                repeated,
                "pictures with an id that is taken",
            ),
            (
                Severity::Error,
                unreadable,
                "missing or unreadable pictures",
            ),
            (
                Severity::Error,
                sizes,
                "pictures of another size than the file says",
            ),
            (Severity::Warning, twice, "files listed again"),
            (
                Severity::Warning,
                unsized_,
                "pictures without width or height",
            ),
            (Severity::Warning, odd, "damaged pictures"),
        ] {
            findings.list(severity, messages, &format!("{more} in {file}"));
        }
        summary
    }

    fn check_objects(&self, summary: &mut SplitSummary, findings: &mut Findings) {
        let pictures: HashMap<&Id, usize> =
            (self.file.images.iter().map(|image| &image.id).zip(0..)).collect();
        let classes: HashMap<&Id, usize> = (self
            .file
            .categories
            .iter()
            .map(|category| &category.id)
            .zip(0..))
        .collect();
        let chunks = self.file.objects.par_chunks(CHUNK).enumerate();
        let chunks: Vec<Faults> = chunks
            .map(|(chunk, objects)| {
                let mut faults = Faults::default();
                for (place, object) in objects.iter().enumerate() {
                    let number = chunk * CHUNK + place;
                    if !classes.contains_key(&object.category) {
                        let detail = format!("category_id {}", object.category);
                        faults.add(Fault::UnknownCategory, object, number, &detail);
                    }
                    let Some(&picture) = pictures.get(&object.image) else {
                        let detail = format!("image_id {}", object.image);
                        faults.add(Fault::UnknownPicture, object, number, &detail);
                        continue;
                    };
                    let image = &self.file.images[picture];
                    let size = (image.width as usize, image.height as usize);
                    let around = Surroundings {
                        name: &image.file_name,
                        size: (size.0 > 0 && size.1 > 0).then_some(size),
                    };
                    faults.look(object, number, around);
                }
                faults
            })
            .collect();
        let mut faults = Faults::default();
        for chunk in chunks {
            faults.append(chunk);
        }
        let mut seen = HashSet::new();
        for (number, object) in self.file.objects.iter().enumerate() {
            if object.id.as_ref().is_some_and(|id| !seen.insert(id)) {
                let detail = format!("image_id {}", object.image);
                faults.add(Fault::RepeatedId, object, number, &detail);
            }
        }
        let used = || self.file.objects.iter().filter(|object| !object.crowd);
        let filled: HashSet<&Id> = used().map(|object| &object.image).collect();
        let images = self.file.images.iter();
        faults.counts.empty_pictures = images.filter(|image| !filled.contains(&image.id)).count();
        let mut per_class = vec![0_usize; self.file.categories.len()];
        for class in used().filter_map(|object: &ListedObject| classes.get(&object.category)) {
            per_class[*class] += 1;
        }
        summary.smallest_class = per_class.iter().copied().min().unwrap_or(0);
        summary.largest_class = per_class.iter().copied().max().unwrap_or(0);
        let counts = faults.counts;
        summary.objects = Some(counts);
        let file = self.path().display();
        let unused: Vec<&str> = (self.file.categories.iter().zip(&per_class))
            .filter(|(_, count)| **count == 0)
            .map(|(category, _)| category.name.as_str())
            .collect();
        if let Some(first) = unused.first() {
            findings.add(
                Severity::Note,
                format!(
                    "{file}: {} classes have no object, the first is {first}; is something missing?",
                    unused.len()
                ),
            );
        }
        if counts.boxes_only > 0 && counts.boxes_only < counts.objects {
            findings.add(
                Severity::Note,
                format!(
                    "{file}: {} of {} objects have no outline, so that masks are learned from the others alone; add the outlines if they were lost",
                    counts.boxes_only, counts.objects
                ),
            );
        }
        if counts.objects == 0 {
            findings.add(
                Severity::Error,
                format!("{file}: there is no object that is not a crowd in it; check that it is the right file"),
            );
        }
        faults.report(self.path(), findings);
    }
}

fn sorted(part: &Read) -> Vec<&Category> {
    let mut categories: Vec<&Category> = part.file.categories.iter().collect();
    categories.sort_by(|a, b| a.id.cmp(&b.id));
    categories
}

fn check_categories(part: &Read, expected: Option<usize>, findings: &mut Findings) {
    let file = part.path().display();
    let categories = sorted(part);
    if let Some(pair) = categories.windows(2).find(|pair| pair[0].id == pair[1].id) {
        findings.add(
            Severity::Error,
            format!(
                "{file}: category id {} is listed twice; give every category its own id",
                pair[0].id
            ),
        );
    }
    let mut names = HashSet::new();
    if let Some(again) = categories.iter().find(|c| !names.insert(c.name.as_str())) {
        findings.add(
            Severity::Warning,
            format!(
                "{file}: two categories are called {}; give them different names or make them one",
                again.name
            ),
        );
    }
    if let Some(expected) = expected.filter(|&expected| expected != categories.len()) {
        findings.add(
            Severity::Error,
            format!(
                "{file}: it lists {} categories but {expected} classes are expected; correct the list or the number",
                categories.len()
            ),
        );
    }
}

/// Category lists must be equal: class indices follow the order of identifiers.
fn compare_categories(train: &Read, val: &Read, findings: &mut Findings) {
    let (left, right) = (sorted(train), sorted(val));
    let at = left
        .iter()
        .zip(&right)
        .position(|(a, b)| a.id != b.id || a.name != b.name)
        .unwrap_or(left.len().min(right.len()));
    if at == left.len() && at == right.len() {
        return;
    }
    let told = |categories: &[&Category]| {
        categories.get(at).map_or_else(
            || "none".to_owned(),
            |category| format!("{} (id {})", category.name, category.id),
        )
    };
    findings.add(
        Severity::Error,
        format!(
            "{}: the categories differ from those of {}, first at class index {at} ({} there, {} here); give both files the same list",
            val.path().display(),
            train.path().display(),
            told(&left),
            told(&right)
        ),
    );
}

//! What is wrong with single annotations of a detection data set.

use std::collections::BTreeMap;
use std::path::Path;

use eval::Rle;
use eval::coco::{ListedObject, Outline};

use super::dataset::called;
use crate::check::Findings;
use crate::report::{ObjectSummary, Severity};

/// Pixels by which boxes and outlines may differ or leave the picture: annotations are drawn by hand.
const SLACK: f64 = 2.0;
/// An area may differ from that of the outline by so much of it: files count pixels, polygons or scaled
/// copies.
const AREA_SLACK: f64 = 0.2;
/// And by so many square pixels.
const AREA_SLACK_PIXELS: f64 = 32.0;
/// Examples of each kind that are shown.
const SHOWN: usize = 3;

/// Kinds of faults, the most severe first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    UnknownPicture,
    UnknownCategory,
    RepeatedId,
    NoBox,
    NegativeBox,
    OutsideBox,
    MaskSize,
    EmptyBox,
    EmptyMask,
    DegeneratePolygon,
    LeavesPicture,
    BoxMissesMask,
    AreaDiffers,
    NoArea,
    CrowdPolygons,
    NoId,
}

impl Fault {
    fn severity(self) -> Severity {
        if self <= Self::MaskSize {
            Severity::Error
        } else {
            Severity::Warning
        }
    }

    /// What the annotations with it are, and what to do.
    fn told(self) -> (&'static str, &'static str) {
        match self {
            Self::UnknownPicture => (
                "belong to pictures that the file does not list",
                "add the pictures or remove the annotations",
            ),
            Self::UnknownCategory => (
                "have a category that the file does not list",
                "add the category or correct category_id",
            ),
            Self::RepeatedId => (
                "share their id with an earlier one",
                "give every annotation its own id",
            ),
            Self::NoBox => (
                "have no bbox, which scoring needs",
                "add x, y, width, height",
            ),
            Self::NegativeBox => (
                "have a bbox of negative width or height",
                "write x, y, width, height, not two corners",
            ),
            Self::OutsideBox => (
                "have a bbox outside their picture",
                "correct the box or the picture's size",
            ),
            Self::MaskSize => (
                "have a mask of another size than their picture",
                "write the mask again; its size is [height, width]",
            ),
            Self::EmptyBox => (
                "have a bbox without area, and are left out in training",
                "correct or remove them",
            ),
            Self::EmptyMask => (
                "have an empty mask, and are left out in training",
                "correct or remove them",
            ),
            Self::DegeneratePolygon => (
                "have polygons of fewer than three points or an odd number count, which are left out in training",
                "remove these polygons",
            ),
            Self::LeavesPicture => (
                "have a box or an outline that leaves the picture",
                "check that picture and annotation have the same size",
            ),
            Self::BoxMissesMask => (
                "have a bbox that does not enclose their outline",
                "compute the boxes from the outlines",
            ),
            Self::AreaDiffers => (
                "have an area that is not that of their outline",
                "compute it from the outline, since it decides the size class in scoring",
            ),
            Self::NoArea => (
                "have no area, which decides the size class in scoring",
                "add the outline's area in square pixels",
            ),
            Self::CrowdPolygons => (
                "are crowds with polygons, where COCO has run-length masks",
                "check that iscrowd is meant",
            ),
            Self::NoId => ("have no id, which scoring needs", "number them"),
        }
    }
}

/// Faults found so far: how many of each kind, and the first ones.
#[derive(Debug, Default)]
pub(super) struct Faults {
    kinds: BTreeMap<Fault, (usize, Vec<String>)>,
    pub counts: ObjectSummary,
}

/// What is known of the picture an annotation belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surroundings<'a> {
    pub name: &'a str,
    /// Width and height.
    pub size: Option<(usize, usize)>,
}

impl Faults {
    /// Notes a fault of an annotation, with `detail` in brackets.
    pub(super) fn add(&mut self, fault: Fault, object: &ListedObject, number: usize, detail: &str) {
        let (count, examples) = self.kinds.entry(fault).or_default();
        *count += 1;
        if examples.len() < SHOWN {
            examples.push(format!("{} ({detail})", called(object, number)));
        }
    }

    /// Adds those of later annotations.
    pub(super) fn append(&mut self, later: Self) {
        for (fault, (count, examples)) in later.kinds {
            let own = self.kinds.entry(fault).or_default();
            own.0 += count;
            own.1.extend(examples);
            own.1.truncate(SHOWN);
        }
        let (own, other) = (&mut self.counts, later.counts);
        for (own, other) in [
            (&mut own.objects, other.objects),
            (&mut own.crowds, other.crowds),
            (&mut own.polygons, other.polygons),
            (&mut own.masks, other.masks),
            (&mut own.boxes_only, other.boxes_only),
            (&mut own.small, other.small),
            (&mut own.medium, other.medium),
            (&mut own.large, other.large),
        ] {
            *own += other;
        }
    }

    /// A finding for each kind.
    pub(super) fn report(self, file: &Path, findings: &mut Findings) {
        for (fault, (count, examples)) in self.kinds {
            let (what, remedy) = fault.told();
            findings.add(
                fault.severity(),
                format!(
                    "{}: {count} annotations {what}, first {}; {remedy}",
                    file.display(),
                    examples.join(", ")
                ),
            );
        }
    }

    /// Looks at an annotation of a known picture.
    pub(super) fn look(&mut self, object: &ListedObject, number: usize, picture: Surroundings<'_>) {
        let name = picture.name;
        if object.id.is_none() {
            self.add(Fault::NoId, object, number, name);
        }
        self.look_at_box(object, number, picture);
        let outline = self.look_at_outline(object, number, picture);
        if let (Some(([x0, y0, x1, y1], _)), Some([x, y, w, h])) = (outline, object.bbox)
            && w > 0.0
            && h > 0.0
            && (x0 < x - SLACK || y0 < y - SLACK || x1 > x + w + SLACK || y1 > y + h + SLACK)
        {
            let detail = format!(
                "{name}: box {x},{y} to {},{}, outline {x0:.1},{y0:.1} to {x1:.1},{y1:.1}",
                x + w,
                y + h
            );
            self.add(Fault::BoxMissesMask, object, number, &detail);
        }
        let expected = outline.map(|(_, area)| area);
        match (object.area, expected) {
            (None, _) => self.add(Fault::NoArea, object, number, name),
            (Some(area), Some(expected)) => {
                let off = (area - expected).abs();
                // Crowds count their members' pixels in their own ways.
                if !object.crowd && off > AREA_SLACK * expected && off > AREA_SLACK_PIXELS {
                    let detail = format!("{name}: area {area}, outline {expected:.0}");
                    self.add(Fault::AreaDiffers, object, number, &detail);
                }
            }
            _ => {}
        }
        self.count(object, expected);
    }

    fn look_at_box(&mut self, object: &ListedObject, number: usize, picture: Surroundings<'_>) {
        let Some([x, y, w, h]) = object.bbox else {
            self.add(Fault::NoBox, object, number, picture.name);
            return;
        };
        let detail = format!("{}: {x},{y},{w},{h}", picture.name);
        if w < 0.0 || h < 0.0 {
            self.add(Fault::NegativeBox, object, number, &detail);
        } else if w == 0.0 || h == 0.0 {
            self.add(Fault::EmptyBox, object, number, &detail);
        } else if let Some((width, height)) = picture.size {
            let (width, height) = (width as f64, height as f64);
            if x >= width || y >= height || x + w <= 0.0 || y + h <= 0.0 {
                self.add(Fault::OutsideBox, object, number, &detail);
            } else if leaves([x, y, x + w, y + h], width, height) {
                self.add(Fault::LeavesPicture, object, number, &detail);
            }
        }
    }

    /// The outline's bounds `x0, y0, x1, y1` and area, where it has any.
    fn look_at_outline(
        &mut self,
        object: &ListedObject,
        number: usize,
        picture: Surroundings<'_>,
    ) -> Option<([f64; 4], f64)> {
        let name = picture.name;
        match object.outline.as_ref()? {
            Outline::Runs(mask) => {
                let found = (mask.width() as usize, mask.height() as usize);
                if picture.size.is_some_and(|size| size != found) {
                    let detail = format!("{name}: {}x{}", found.0, found.1);
                    self.add(Fault::MaskSize, object, number, &detail);
                }
                if mask.area() == 0 {
                    self.add(Fault::EmptyMask, object, number, name);
                    return None;
                }
                let [x, y, w, h] = mask.bounding_box();
                Some(([x, y, x + w, y + h], mask.area() as f64))
            }
            Outline::Polygons(polygons) => {
                if object.crowd {
                    self.add(Fault::CrowdPolygons, object, number, name);
                }
                let sound = |p: &&[f64]| p.len() >= 6 && p.len().is_multiple_of(2);
                let all = polygons.iter().map(|p| &**p);
                let used: Vec<&[f64]> = all.filter(sound).collect();
                if used.len() < polygons.len() {
                    self.add(Fault::DegeneratePolygon, object, number, name);
                }
                let mut bounds = [f64::MAX, f64::MAX, f64::MIN, f64::MIN];
                for &[x, y] in used.iter().flat_map(|p| p.as_chunks::<2>().0) {
                    bounds = [
                        bounds[0].min(x),
                        bounds[1].min(y),
                        bounds[2].max(x),
                        bounds[3].max(y),
                    ];
                }
                if used.is_empty() {
                    return None;
                }
                let (width, height) = picture.size?;
                let box_leaves = object.bbox.is_some_and(|[x, y, w, h]| {
                    leaves([x, y, x + w, y + h], width as f64, height as f64)
                });
                if !box_leaves && leaves(bounds, width as f64, height as f64) {
                    self.add(Fault::LeavesPicture, object, number, name);
                }
                let mask = Rle::from_polygons(height as u32, width as u32, used).ok()?;
                Some((bounds, mask.area() as f64))
            }
        }
    }

    fn count(&mut self, object: &ListedObject, outline_area: Option<f64>) {
        let counts = &mut self.counts;
        if object.crowd {
            counts.crowds += 1;
            return;
        }
        counts.objects += 1;
        *match &object.outline {
            Some(Outline::Polygons(_)) => &mut counts.polygons,
            Some(Outline::Runs(_)) => &mut counts.masks,
            None => &mut counts.boxes_only,
        } += 1;
        let box_area = object.bbox.map(|[_, _, w, h]| w * h);
        // COCO's size classes.
        match object.area.or(outline_area).or(box_area).unwrap_or(0.0) {
            area if area < 32.0 * 32.0 => counts.small += 1,
            area if area <= 96.0 * 96.0 => counts.medium += 1,
            _ => counts.large += 1,
        }
    }
}

fn leaves([x0, y0, x1, y1]: [f64; 4], width: f64, height: f64) -> bool {
    x0 < -SLACK || y0 < -SLACK || x1 > width + SLACK || y1 > height + SLACK
}

//! Pictures with the objects that a detector finds outlined.

use std::collections::HashMap;
use std::path::Path;

use data::{DetectionDataset, OverlayObject, RgbImage, draw_detections};
use detection::DetectedPicture;
use engine::TaskError;
use eval::Rle;
use eval::coco::{Geometry, GroundTruth, Id};
use leaderboard::ExampleRecord;

use super::{Album, chosen, enlarged, enlarged_map, enlargement};

/// Detections that score less are not drawn.
const DRAWN_FROM: f32 = 0.5;

/// Collects the examples of a detector's evaluation.
pub struct ObjectExamples<'a> {
    set: &'a DetectionDataset,
    wanted: HashMap<Id, usize>,
    album: Album,
}

/// An object to draw.
struct Object {
    bounds: [f32; 4],
    mask: Option<Rle>,
    label: String,
    class: usize,
}

impl<'a> ObjectExamples<'a> {
    /// Of a set, into an evaluation's folder.
    pub fn start(set: &'a DetectionDataset, evaluation: &Path) -> anyhow::Result<Self> {
        let pictures = set.pictures();
        let wanted = chosen(pictures.len()).into_iter();
        Ok(Self {
            set,
            wanted: wanted.map(|at| (pictures[at].id.clone(), at)).collect(),
            album: Album::start(evaluation)?,
        })
    }

    /// Takes a picture's detections, where it is one of the examples. Its ground truth comes at the end.
    pub fn observe(&mut self, found: &DetectedPicture) -> Result<(), TaskError> {
        let Some(at) = self.wanted.get(&found.image_id) else {
            return Ok(());
        };
        let detections = &found.detections;
        let shown = (0..detections.len()).filter(|at| detections.scores[*at] >= DRAWN_FROM);
        // The best last, so that they lie on top.
        let objects: Vec<Object> = shown
            .rev()
            .map(|at| Object {
                bounds: detections.boxes[at],
                mask: found.masks.as_ref().map(|masks| masks[at].clone()),
                label: format!(
                    "{} {:.0} %",
                    self.set.categories()[detections.classes[at]].name,
                    100.0 * detections.scores[at]
                ),
                class: detections.classes[at],
            })
            .collect();
        let picture = drawn(&self.set.picture(*at)?, &objects)?;
        let prediction = self.album.write(&picture, "found")?;
        self.album.records.push(ExampleRecord {
            name: self.set.pictures()[*at].name.clone(),
            truth: Default::default(),
            truth_caption: String::new(),
            prediction: Some(prediction),
            caption: match objects.len() {
                0 => format!("nothing above {:.0} %", 100.0 * DRAWN_FROM),
                count => format!("{count} above {:.0} %", 100.0 * DRAWN_FROM),
            },
            right: None,
        });
        Ok(())
    }

    /// Draws the ground truth; the records of the written pictures.
    pub fn finish(mut self, annotations: &Path) -> anyhow::Result<Vec<ExampleRecord>> {
        let geometry = |masks| Geometry { boxes: true, masks };
        let strict = eval::Strictness::Strict;
        // Files without masks are drawn with boxes alone.
        let (truth, _) = GroundTruth::read(annotations, geometry(true), strict)
            .or_else(|_| GroundTruth::read(annotations, geometry(false), strict))?;
        let classes: HashMap<&Id, usize> = self
            .set
            .categories()
            .iter()
            .enumerate()
            .map(|(class, category)| (&category.id, class))
            .collect();
        let mut records = std::mem::take(&mut self.album.records);
        for record in &mut records {
            let picture = |(_, at): &(&Id, &usize)| self.set.pictures()[**at].name == record.name;
            let Some((id, at)) = self.wanted.iter().find(picture) else {
                continue;
            };
            let objects: Vec<Object> = truth
                .annotations()
                .iter()
                .filter(|object| truth.images()[object.image].id == *id && !object.crowd)
                .map(|object| {
                    let category = &truth.categories()[object.category];
                    let [x, y, width, height] = object.bbox.map(|value| value as f32);
                    Object {
                        bounds: [x, y, x + width, y + height],
                        mask: object.mask.as_ref().map(Rle::from),
                        label: category.name.clone(),
                        class: classes.get(&category.id).copied().unwrap_or(0),
                    }
                })
                .collect();
            let picture = drawn(&self.set.picture(*at)?, &objects)?;
            record.truth_caption = match objects.len() {
                1 => "1 object".to_owned(),
                count => format!("{count} objects"),
            };
            record.truth = self.album.write(&picture, "truth")?;
            self.album.records.push(record.clone());
        }
        Ok(records)
    }
}

fn drawn(image: &RgbImage, objects: &[Object]) -> anyhow::Result<RgbImage> {
    let factor = enlargement(image);
    let mut picture = enlarged(image, factor);
    let masks: Vec<Option<Vec<u8>>> = objects
        .iter()
        .map(|object| {
            let mask = object.mask.as_ref()?;
            let fits =
                (mask.width() as usize, mask.height() as usize) == (image.width, image.height);
            fits.then(|| enlarged_map(&mask.decode_row_major(), image.width, factor))
        })
        .collect();
    let overlays: Vec<OverlayObject> = objects
        .iter()
        .zip(&masks)
        .map(|(object, mask)| OverlayObject {
            bounds: object.bounds.map(|value| value * factor as f32),
            mask: mask.as_deref(),
            label: &object.label,
            colour: object.class,
        })
        .collect();
    draw_detections(&mut picture, &overlays)?;
    Ok(picture)
}

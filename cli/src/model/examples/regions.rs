//! Pictures with the classes of their pixels laid over.

use std::collections::HashMap;
use std::path::Path;

use data::{IGNORED, RgbImage, SegmentationDataset, draw_labels};
use engine::TaskError;
use leaderboard::ExampleRecord;
use segmentation::SegmentedPicture;

use super::{Album, chosen, enlarged, enlarged_map, enlargement};

/// How much of a class's colour lies over the picture: enough to tell classes on colourful ones.
const OPACITY: f64 = 0.7;

/// Collects the examples of a segmentor's evaluation.
pub struct RegionExamples<'a> {
    set: &'a SegmentationDataset,
    /// Places in the set of the pictures that are shown, by their order in it.
    wanted: HashMap<usize, ()>,
    seen: usize,
    album: Album,
}

impl<'a> RegionExamples<'a> {
    /// Of a set, into an evaluation's folder.
    pub fn start(
        set: &'a SegmentationDataset,
        pictures: usize,
        evaluation: &Path,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            set,
            wanted: chosen(pictures).into_iter().map(|at| (at, ())).collect(),
            seen: 0,
            album: Album::start(evaluation)?,
        })
    }

    /// Takes the next picture's label map, where it is one of the examples; pictures come in the set's order.
    pub fn observe(&mut self, found: &SegmentedPicture) -> Result<(), TaskError> {
        let at = self.seen;
        self.seen += 1;
        if self.wanted.remove(&at).is_none() {
            return Ok(());
        }
        let image = self.set.picture(at)?;
        let truth = self.set.labels(at, (image.width, image.height))?;
        let labelled = truth
            .iter()
            .zip(&found.labels)
            .filter(|(label, _)| **label != IGNORED);
        let (right, all) = labelled.fold((0_u64, 0_u64), |(right, all), (label, found)| {
            (right + u64::from(label == found), all + 1)
        });
        let palette = self.set.palette();
        let drawn = |labels: &[u8]| -> RgbImage {
            let factor = enlargement(&image);
            let mut picture = enlarged(&image, factor);
            let map = enlarged_map(labels, image.width, factor);
            draw_labels(&mut picture, &map, palette, OPACITY);
            picture
        };
        let record = ExampleRecord {
            name: found.name.clone(),
            truth: self.album.write(&drawn(&truth), "truth")?,
            truth_caption: String::new(),
            prediction: Some(self.album.write(&drawn(&found.labels), "found")?),
            caption: match all {
                0 => String::new(),
                all => format!(
                    "{:.0} % of the pixels right",
                    100.0 * right as f64 / all as f64
                ),
            },
            right: None,
        };
        self.album.records.push(record);
        Ok(())
    }

    /// The records of the written pictures.
    pub fn finish(self) -> Vec<ExampleRecord> {
        self.album.records
    }
}

//! Pictures with what a classifier takes them for.

use std::collections::HashMap;
use std::path::Path;

use data::ClassificationDataset;
use engine::TaskError;
use eval::Prediction;
use leaderboard::ExampleRecord;

use super::{Album, chosen, enlarged, enlargement};

/// Collects the examples of a classifier's evaluation.
pub struct ClassExamples<'a> {
    set: &'a ClassificationDataset,
    names: &'a [String],
    wanted: HashMap<String, usize>,
    album: Album,
}

impl<'a> ClassExamples<'a> {
    /// Of a set, with class names in class order, into an evaluation's folder.
    pub fn start(
        set: &'a ClassificationDataset,
        names: &'a [String],
        pictures: usize,
        evaluation: &Path,
    ) -> anyhow::Result<Self> {
        let wanted = chosen(pictures).into_iter();
        Ok(Self {
            set,
            names,
            wanted: wanted.map(|at| (set.name(at).to_owned(), at)).collect(),
            album: Album::start(evaluation)?,
        })
    }

    /// Takes a prediction, where its picture is one of the examples.
    pub fn observe(&mut self, prediction: &Prediction) -> Result<(), TaskError> {
        let Some(at) = self.wanted.remove(&prediction.name) else {
            return Ok(());
        };
        let image = self.set.picture(at)?;
        let image = enlarged(&image, enlargement(&image));
        let truth = self.album.write(&image, "truth")?;
        let name = |class: usize| self.names.get(class).map_or("?", String::as_str);
        let best = prediction.best();
        self.album.records.push(ExampleRecord {
            name: prediction.name.clone(),
            truth,
            truth_caption: prediction.label.map_or("", name).to_owned(),
            prediction: None,
            caption: best.map_or_else(String::new, |best| match best.probability {
                Some(probability) => format!("{} {:.0} %", name(best.class), 100.0 * probability),
                None => name(best.class).to_owned(),
            }),
            right: prediction.hit(1),
        });
        Ok(())
    }

    /// The records of the written pictures.
    pub fn finish(self) -> Vec<ExampleRecord> {
        self.album.records
    }
}

//! One file of predictions, read against the labels of its pictures.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::class_list::ClassList;
use super::prediction::Prediction;
use super::reader::{PredictionsReader, Record, without_name};
use super::truth::{LabelledPicture, PictureLabels};
use crate::error::EvalError;
use crate::strictness::{Skipped, Strictness};

/// One file of predictions, each found in the ground truth.
#[derive(Debug)]
pub struct PredictionSet {
    pub(super) path: PathBuf,
    rows: Vec<Row>,
    pub(super) classes: Option<usize>,
}

#[derive(Debug)]
struct Row {
    /// Place in the ground truth.
    picture: usize,
    line: u64,
    prediction: Prediction,
}

impl PredictionSet {
    /// Reads a file that [`PredictionsReader`] understands. With a ground truth, labels come from
    /// there, and a row's own label must agree; without one, every row needs its own.
    ///
    /// # Errors
    /// When the file cannot be read or has no row that can be scored; under
    /// [`Strictness::Strict`] also when a record cannot be used, a picture occurs twice, is not in
    /// the ground truth or has no label.
    pub fn read(
        path: &Path,
        truth: Option<&PictureLabels>,
        classes: Option<&ClassList>,
        strictness: Strictness,
    ) -> Result<(Self, Skipped), EvalError> {
        let mut reader = PredictionsReader::with_classes(path, classes)?;
        let mut set = Self {
            path: reader.path().to_owned(),
            rows: Vec::new(),
            classes: reader.num_classes(),
        };
        let mut skipped = Skipped::default();
        let mut found = Found::new(truth);
        while let Some(record) = reader.next_record() {
            if reader.is_broken() {
                // What follows is unknown, which no leniency mends.
                record?;
                break;
            }
            let line = reader.line();
            let row = record.and_then(|record| {
                found
                    .row(record, line)
                    .map_err(|problem| EvalError::record(&set.path, line, problem))
            });
            match row {
                Ok(row) => {
                    found.lines.insert(row.picture, line);
                    set.rows.push(row);
                }
                Err(error) => skipped.meet(strictness, error)?,
            }
        }
        if set.rows.is_empty() {
            let problem = match skipped.first() {
                Some(first) => format!("no prediction in it can be scored; the first: {first}"),
                None => "no prediction is in it: the file may have been cut off".to_owned(),
            };
            return Err(EvalError::file(&set.path, problem));
        }
        if truth.is_none() {
            // Rows left out have used up places, too.
            for (place, row) in set.rows.iter_mut().enumerate() {
                row.picture = place;
            }
        }
        Ok((set, skipped))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The labels of a set that was read without a ground truth, as ground truth of this and other
    /// sets.
    pub fn labels(&self) -> PictureLabels {
        let picture = |row: &Row| LabelledPicture {
            name: row.prediction.name.clone(),
            label: row.prediction.label.unwrap_or(usize::MAX),
            line: row.line,
        };
        let pictures = self.rows.iter().map(picture).collect();
        PictureLabels::new(self.path.clone(), pictures, false)
    }
}

/// Which picture each record is about, while a file is read.
struct Found<'a> {
    truth: Option<&'a PictureLabels>,
    /// Without a ground truth: places in order of appearance.
    names: HashMap<String, usize>,
    /// Lines of the pictures met.
    lines: HashMap<usize, u64>,
}

impl<'a> Found<'a> {
    fn new(truth: Option<&'a PictureLabels>) -> Self {
        Self {
            truth,
            names: HashMap::new(),
            lines: HashMap::new(),
        }
    }

    fn row(&mut self, record: Record, line: u64) -> Result<Row, String> {
        let name = &record.name;
        if name.is_empty() {
            return Err("column file is empty: name the picture".to_owned());
        }
        let picture = match self.truth {
            Some(truth) => truth.find(name).ok_or_else(|| {
                format!(
                    "picture \"{name}\" is not in {}: predict the pictures that are labelled there",
                    truth.path().display()
                )
            })?,
            None => {
                let next = self.names.len();
                *self.names.entry(name.clone()).or_insert(next)
            }
        };
        if let Some(first) = self.lines.get(&picture) {
            return Err(format!(
                "picture \"{name}\" is predicted already on line {first}: predict it once"
            ));
        }
        let label = match (self.truth, record.label) {
            (None, Some(own)) => own,
            (None, None) => {
                return Err(format!(
                    "picture \"{name}\" has no label: fill column label, or give a ground truth"
                ));
            }
            (Some(truth), own) => {
                let known = &truth.pictures()[picture];
                if let Some(own) = own.filter(|&own| own != known.label) {
                    return Err(format!(
                        "label {own} disagrees with {}, line {}, which says {}: number the classes \
                         in one order, or remove column label",
                        truth.path().display(),
                        known.line,
                        known.label
                    ));
                }
                known.label
            }
        };
        Ok(Row {
            picture,
            line,
            prediction: record.prediction(Some(label)).map_err(without_name)?,
        })
    }
}

impl PredictionSet {
    /// The predictions in order of the ground truth; nothing where there is none.
    pub(super) fn in_order(
        &self,
        truth: &PictureLabels,
        wanted: &[bool],
        classes: usize,
        strictness: Strictness,
        skipped: &mut Skipped,
    ) -> Result<Vec<Option<Prediction>>, EvalError> {
        let mut rows: Vec<Option<Prediction>> = vec![None; wanted.len()];
        let mut met = vec![false; wanted.len()];
        for row in &self.rows {
            let highest = row.prediction.top.iter().map(|ranked| ranked.class).max();
            let (Some(place), Some(met)) = (rows.get_mut(row.picture), met.get_mut(row.picture))
            else {
                continue;
            };
            *met = true;
            match highest.filter(|&class| class >= classes) {
                Some(class) => {
                    let problem = format!(
                        "class {class} is ranked, but there are {classes} classes (from 0): \
                         correct it, or the number of classes"
                    );
                    let error = EvalError::record(&self.path, row.line, problem);
                    skipped.meet(strictness, error)?;
                }
                None => *place = Some(row.prediction.clone()),
            }
        }
        let missing: Vec<&LabelledPicture> = (truth.pictures().iter().zip(wanted).zip(&met))
            .filter(|((_, wanted), met)| **wanted && !**met)
            .map(|((picture, _), _)| picture)
            .collect();
        for picture in &missing {
            let problem = format!(
                "{} of the {} pictures of {} have no prediction, the first is \"{}\" (line {} \
                 there): predict them all",
                missing.len(),
                wanted.len(),
                truth.path().display(),
                picture.name,
                picture.line
            );
            skipped.meet(strictness, EvalError::file(&self.path, problem))?;
        }
        Ok(rows)
    }
}

//! Predictions and per-class scores as CSV.
//!
//! Numbers are written with as many digits as reading them back bit by bit takes.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::meter::ClassificationMeter;
use super::prediction::{Prediction, Ranked, TOP_K};
use crate::error::EvalError;
use crate::file::CsvFile;

/// Columns of a predictions file. `label`, `label_name`, `loss` and the places beyond the number
/// of classes may be empty.
const COLUMNS: [&str; 15] = [
    "file",
    "label",
    "label_name",
    "top1",
    "top2",
    "top3",
    "top4",
    "top5",
    "p1",
    "p2",
    "p3",
    "p4",
    "p5",
    "loss",
    "top1_name",
];
/// Columns of a per-class file.
const CLASS_COLUMNS: [&str; 10] = [
    "class",
    "name",
    "count",
    "top1",
    "top5",
    "precision",
    "loss",
    "confused_with",
    "confused_with_name",
    "confused_count",
];
const FIRST_CLASS: usize = 3;
const FIRST_PROBABILITY: usize = FIRST_CLASS + TOP_K;
const LOSS: usize = FIRST_PROBABILITY + TOP_K;

fn name_of(names: &[String], class: usize) -> &str {
    names.get(class).map_or("", String::as_str)
}

/// Writes predictions as they come. The file takes its name when [`PredictionsWriter::finish`] is
/// called; dropped before, it leaves nothing behind.
#[derive(Debug)]
pub struct PredictionsWriter {
    csv: CsvFile,
    names: Vec<String>,
}

impl PredictionsWriter {
    /// Starts a file; `names` are the class names, empty where there are none.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn create(path: &Path, names: &[String]) -> Result<Self, EvalError> {
        Ok(Self {
            csv: CsvFile::create(path, &COLUMNS)?,
            names: names.to_vec(),
        })
    }

    /// Writes one record.
    ///
    /// # Errors
    /// When writing fails.
    pub fn add(&mut self, prediction: &Prediction) -> Result<(), EvalError> {
        let mut row: [String; COLUMNS.len()] = Default::default();
        row[0].clone_from(&prediction.name);
        if let Some(label) = prediction.label {
            row[1] = label.to_string();
            row[2] = name_of(&self.names, label).to_owned();
        }
        for (place, ranked) in prediction.top.iter().take(TOP_K).enumerate() {
            row[FIRST_CLASS + place] = ranked.class.to_string();
            row[FIRST_PROBABILITY + place] = ranked.probability.to_string();
        }
        if let Some(loss) = prediction.loss {
            row[LOSS] = loss.to_string();
        }
        if let Some(best) = prediction.best() {
            row[LOSS + 1] = name_of(&self.names, best.class).to_owned();
        }
        self.csv.row(&row)
    }

    /// Completes the file.
    ///
    /// # Errors
    /// When writing fails.
    pub fn finish(self) -> Result<(), EvalError> {
        self.csv.finish()
    }
}

/// Reads predictions one by one.
#[derive(Debug)]
pub struct PredictionsReader {
    csv: csv::Reader<BufReader<File>>,
    path: PathBuf,
}

impl PredictionsReader {
    /// Opens a file written by [`PredictionsWriter`].
    ///
    /// # Errors
    /// When the file cannot be read or its first line does not name the columns.
    pub fn open(path: &Path) -> Result<Self, EvalError> {
        let file = File::open(path).map_err(|source| EvalError::Read {
            path: path.to_owned(),
            source,
        })?;
        let mut reader = Self {
            csv: csv::Reader::from_reader(BufReader::new(file)),
            path: path.to_owned(),
        };
        let matches = match reader.csv.headers() {
            Ok(headers) => headers.iter().eq(COLUMNS),
            Err(error) => return Err(reader.failed(error)),
        };
        if !matches {
            let problem = format!(
                "not a predictions file: the first line must be {}",
                COLUMNS.join(",")
            );
            return Err(EvalError::record(path, 1, problem));
        }
        Ok(reader)
    }

    fn failed(&self, error: csv::Error) -> EvalError {
        let line = error.position().map_or(1, csv::Position::line);
        match error.into_kind() {
            csv::ErrorKind::Io(source) => EvalError::Read {
                path: self.path.clone(),
                source,
            },
            csv::ErrorKind::UnequalLengths {
                expected_len, len, ..
            } => EvalError::record(
                &self.path,
                line,
                format!("{len} fields instead of {expected_len}: the file may have been cut off"),
            ),
            csv::ErrorKind::Utf8 { .. } => {
                EvalError::record(&self.path, line, "the text is not UTF-8: save it as UTF-8")
            }
            other => EvalError::record(&self.path, line, format!("{other:?}")),
        }
    }

    fn parse(&self, record: &csv::StringRecord) -> Result<Prediction, EvalError> {
        let line = record.position().map_or(0, csv::Position::line);
        let class = |column: usize| -> Result<Option<usize>, EvalError> {
            optional(
                &self.path,
                line,
                record,
                column,
                "a class number or nothing",
            )
        };
        let number = |column: usize| -> Result<Option<f64>, EvalError> {
            optional(&self.path, line, record, column, "a number or nothing")
        };
        let mut top = Vec::with_capacity(TOP_K);
        for place in 0..TOP_K {
            match (
                class(FIRST_CLASS + place)?,
                number(FIRST_PROBABILITY + place)?,
            ) {
                (Some(class), Some(probability)) => top.push(Ranked { class, probability }),
                (None, None) => break,
                _ => {
                    let problem = format!(
                        "columns top{0} and p{0} must both be filled or both be empty",
                        place + 1
                    );
                    return Err(EvalError::record(&self.path, line, problem));
                }
            }
        }
        Ok(Prediction {
            name: record[0].to_owned(),
            label: class(1)?,
            top,
            loss: number(LOSS)?,
        })
    }
}

fn optional<T: std::str::FromStr>(
    path: &Path,
    line: u64,
    record: &csv::StringRecord,
    column: usize,
    wanted: &str,
) -> Result<Option<T>, EvalError> {
    let text = &record[column];
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        let problem = format!(
            "column {} holds \"{text}\": it must be {wanted}",
            COLUMNS[column]
        );
        EvalError::record(path, line, problem)
    })
}

impl Iterator for PredictionsReader {
    type Item = Result<Prediction, EvalError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut record = csv::StringRecord::new();
        match self.csv.read_record(&mut record) {
            Ok(true) => Some(self.parse(&record)),
            Ok(false) => None,
            Err(error) => Some(Err(self.failed(error))),
        }
    }
}

/// Writes one line per class: its counts, accuracies and precision in 0..=1 (empty where the class
/// does not occur), mean loss, and the class it is most often taken for.
///
/// # Errors
/// When the file cannot be written.
pub fn write_per_class(
    path: &Path,
    meter: &ClassificationMeter,
    names: &[String],
) -> Result<(), EvalError> {
    let mut csv = CsvFile::create(path, &CLASS_COLUMNS)?;
    let ratio = |sum: f64, count: u64| {
        if count == 0 {
            String::new()
        } else {
            (sum / count as f64).to_string()
        }
    };
    // Most frequent first, so that the first one seen of each class is the one to keep.
    let mut worst = vec![None; meter.num_classes()];
    for confusion in meter.confusions() {
        worst[confusion.label].get_or_insert(confusion);
    }
    for (class, (tally, worst)) in meter.classes().iter().zip(worst).enumerate() {
        let (with, with_name, times) = worst.map_or_else(Default::default, |pair| {
            (
                pair.predicted.to_string(),
                name_of(names, pair.predicted),
                pair.count.to_string(),
            )
        });
        csv.row([
            class.to_string().as_str(),
            name_of(names, class),
            &tally.count.to_string(),
            &ratio(tally.top1 as f64, tally.count),
            &ratio(tally.top5 as f64, tally.count),
            &ratio(tally.top1 as f64, tally.predicted),
            &ratio(tally.loss, tally.count),
            &with,
            with_name,
            &times,
        ])?;
    }
    csv.finish()
}

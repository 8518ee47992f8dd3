//! Predictions read from CSV.

use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::class_list::ClassList;
use super::layout::{Layout, Values};
use super::meter::is_probability;
use super::prediction::{Prediction, Ranked, Scale, check_label};
use crate::error::EvalError;
use crate::input::Input;

/// How far the probabilities of a row may be from 1 in sum: half precision over 1000 classes.
const SUM_TOLERANCE: f64 = 0.02;

/// Reads predictions one by one. Three kinds of files are understood; the first line tells which:
///
/// - what [`PredictionsWriter`](super::PredictionsWriter) writes;
/// - a ranking: columns `file` and `top1`, and of the writer's other columns those that are there.
///   Without `p1`, … there is no calibration error, without `loss` no loss, without `top5` no
///   top-5 accuracy;
/// - scores: `file`, perhaps `label`, and one column per class, called by its number from 0 or by
///   its name in a class list, in any order. Where the first row's numbers lie between 0 and 1 and
///   sum to 1 the file holds probabilities, else logits.
///
/// Columns may come in any order. Classes are numbers from 0, or names of the class list. The file
/// may be gzip-compressed; `-` is standard input.
///
/// After an error the next record can be read, unless reading itself failed.
pub struct PredictionsReader {
    csv: csv::Reader<BufReader<Input>>,
    path: PathBuf,
    header: csv::StringRecord,
    layout: Layout,
    classes: Option<ClassList>,
    scale: Option<Scale>,
    line: u64,
    broken: bool,
}

impl std::fmt::Debug for PredictionsReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PredictionsReader")
            .field("path", &self.path)
            .field("line", &self.line)
            .finish_non_exhaustive()
    }
}

/// A record before its label is settled.
pub(super) struct Record {
    pub name: String,
    pub label: Option<usize>,
    said: Said,
}

enum Said {
    Ranking(Vec<Ranked>, Option<f64>),
    Scores(Vec<f64>, Scale),
}

impl Record {
    /// The prediction, for a label that may come from elsewhere.
    pub(super) fn prediction(self, label: Option<usize>) -> Result<Prediction, EvalError> {
        match self.said {
            Said::Ranking(top, loss) => Ok(Prediction {
                name: self.name,
                label,
                top,
                loss,
            }),
            Said::Scores(scores, scale) => {
                Prediction::from_scores(self.name, label, &scores, scale)
            }
        }
    }
}

impl PredictionsReader {
    /// Opens a file whose classes are numbers.
    ///
    /// # Errors
    /// When the file cannot be read or its first line does not name the columns.
    pub fn open(path: &Path) -> Result<Self, EvalError> {
        Self::with_classes(path, None)
    }

    /// Opens a file whose classes may be called by their names.
    ///
    /// # Errors
    /// As of [`PredictionsReader::open`].
    pub fn with_classes(path: &Path, classes: Option<&ClassList>) -> Result<Self, EvalError> {
        let input = Input::open(path)?;
        let path = input.name().to_owned();
        let mut csv = csv::Reader::from_reader(BufReader::new(input));
        let header = match csv.headers() {
            Ok(header) => header.clone(),
            Err(error) => return Err(failed(&path, error)),
        };
        let columns: Vec<&str> = header
            .iter()
            .enumerate()
            // A byte-order mark, which spreadsheets write.
            .map(|(at, name)| {
                if at == 0 {
                    name.trim_start_matches('\u{feff}')
                } else {
                    name
                }
            })
            .map(str::trim)
            .collect();
        let layout = Layout::of(&columns, classes)
            .map_err(|problem| EvalError::record(&path, 1, problem))?;
        Ok(Self {
            csv,
            path,
            layout,
            header,
            classes: classes.cloned(),
            scale: None,
            line: 1,
            broken: false,
        })
    }

    /// The file as errors name it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Line of the record read last, counted from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// How many classes the file tells of; nothing where it holds rankings.
    pub fn num_classes(&self) -> Option<usize> {
        match &self.layout.values {
            Values::Scores { columns } => Some(columns.len()),
            Values::Ranking { .. } => None,
        }
    }

    /// Whether reading itself failed, so that nothing can follow.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// The next record; nothing at the end of the file.
    pub(super) fn next_record(&mut self) -> Option<Result<Record, EvalError>> {
        if self.broken {
            return None;
        }
        let mut record = csv::StringRecord::new();
        match self.csv.read_record(&mut record) {
            Ok(true) => {
                self.line = record.position().map_or(0, csv::Position::line);
                Some(self.parse(&record))
            }
            Ok(false) => None,
            Err(error) => {
                self.line = error.position().map_or(self.line, csv::Position::line);
                self.broken = error.is_io_error();
                Some(Err(failed(&self.path, error)))
            }
        }
    }

    fn parse(&mut self, record: &csv::StringRecord) -> Result<Record, EvalError> {
        let label = match self.layout.label {
            Some(column) => self.class(record, column)?,
            None => None,
        };
        let name = record[self.layout.file].to_owned();
        let said = match &self.layout.values {
            Values::Ranking {
                classes,
                probabilities,
                loss,
            } => {
                let top = self.ranking(record, classes, probabilities)?;
                let loss = match loss {
                    Some(column) => self.number(record, *column)?,
                    None => None,
                };
                // A rounding error may push the loss of a certain prediction below 0.
                if let Some(loss) = loss.filter(|loss| !(-1e-6..f64::INFINITY).contains(loss)) {
                    return Err(self.wrong(format!(
                        "column loss holds {loss}: a cross-entropy is finite and not negative"
                    )));
                }
                Said::Ranking(top, loss)
            }
            Values::Scores { columns } => {
                let scores = self.scores(record, columns)?;
                check_label(&name, label, scores.len())
                    .map_err(|error| self.wrong(without_name(error)))?;
                let scale = self.scale_of(&scores)?;
                self.scale = Some(scale);
                Said::Scores(scores, scale)
            }
        };
        Ok(Record { name, label, said })
    }

    fn scores(&self, record: &csv::StringRecord, columns: &[usize]) -> Result<Vec<f64>, EvalError> {
        let mut scores = Vec::with_capacity(columns.len());
        for &column in columns {
            let Some(score) = self.number(record, column)? else {
                return Err(self.wrong(format!(
                    "column {} is empty: every class needs a number",
                    self.column(column)
                )));
            };
            if !score.is_finite() {
                return Err(self.wrong(format!(
                    "column {} holds {score}: the model's weights or its input are broken",
                    self.column(column)
                )));
            }
            scores.push(score);
        }
        Ok(scores)
    }

    fn ranking(
        &self,
        record: &csv::StringRecord,
        classes: &[usize],
        probabilities: &[usize],
    ) -> Result<Vec<Ranked>, EvalError> {
        let told = probabilities
            .iter()
            .any(|&column| !record[column].is_empty());
        let mut top: Vec<Ranked> = Vec::with_capacity(classes.len());
        let mut ended = false;
        for (place, &column) in classes.iter().enumerate() {
            let class = self.class(record, column)?;
            let probability = match probabilities.get(place) {
                Some(&column) => self.number(record, column)?,
                None => None,
            };
            let Some(class) = class.filter(|_| probability.is_some() || !told) else {
                if class.is_some() || probability.is_some() {
                    return Err(self.wrong(format!(
                        "columns top{0} and p{0} must both be filled or both be empty",
                        place + 1
                    )));
                }
                ended = true;
                continue;
            };
            if ended {
                return Err(self.wrong(format!(
                    "column top{} is filled after an empty one: rank without gaps",
                    place + 1
                )));
            }
            if let Some(value) = probability.filter(|&value| !is_probability(value)) {
                return Err(self.wrong(format!(
                    "column p{} holds {value}: a probability lies between 0 and 1",
                    place + 1
                )));
            }
            if top.iter().any(|ranked| ranked.class == class) {
                return Err(self.wrong(format!("class {class} is ranked twice: rank it once")));
            }
            top.push(Ranked { class, probability });
        }
        if top.is_empty() {
            return Err(self.wrong("no class is ranked: fill column top1"));
        }
        Ok(top)
    }

    /// What the row holds; the first one settles it for the file.
    fn scale_of(&self, scores: &[f64]) -> Result<Scale, EvalError> {
        let sum: f64 = scores.iter().sum();
        let probable =
            scores.iter().all(|&score| is_probability(score)) && (sum - 1.0).abs() <= SUM_TOLERANCE;
        match (self.scale, probable) {
            (Some(Scale::Probabilities), false) => Err(self.wrong(format!(
                "the numbers are no probabilities (their sum is {sum}), but the first row's are: \
                 write either probabilities or logits in every row"
            ))),
            (Some(scale), _) => Ok(scale),
            (None, true) => Ok(Scale::Probabilities),
            (None, false) => Ok(Scale::Logits),
        }
    }

    fn wrong(&self, problem: impl Into<String>) -> EvalError {
        EvalError::record(&self.path, self.line, problem)
    }

    fn column(&self, column: usize) -> &str {
        self.header.get(column).unwrap_or_default().trim()
    }

    fn class(&self, record: &csv::StringRecord, column: usize) -> Result<Option<usize>, EvalError> {
        let text = record[column].trim();
        if text.is_empty() {
            return Ok(None);
        }
        let class = match &self.classes {
            Some(list) => list.find(text),
            None => text.parse().ok(),
        };
        class.map(Some).ok_or_else(|| {
            let wanted = match &self.classes {
                Some(list) => format!(
                    "it must be a number below {}, the name of one class, or nothing",
                    list.len()
                ),
                None => "it must be a class number or nothing".to_owned(),
            };
            self.wrong(format!(
                "column {} holds \"{text}\": {wanted}",
                self.column(column)
            ))
        })
    }

    fn number(&self, record: &csv::StringRecord, column: usize) -> Result<Option<f64>, EvalError> {
        let text = record[column].trim();
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| {
            self.wrong(format!(
                "column {} holds \"{text}\": it must be a number or nothing",
                self.column(column)
            ))
        })
    }
}

/// The problem of a prediction, for an error that names its line instead.
pub(super) fn without_name(error: EvalError) -> String {
    match error {
        EvalError::Prediction { problem, .. } => problem,
        other => other.to_string(),
    }
}

/// An error of the CSV format as one that names the file.
pub(super) fn failed(path: &Path, error: csv::Error) -> EvalError {
    let line = error.position().map_or(1, csv::Position::line);
    match error.into_kind() {
        csv::ErrorKind::Io(source) => EvalError::Read {
            path: path.to_owned(),
            source,
        },
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => EvalError::record(
            path,
            line,
            format!("{len} fields instead of {expected_len}: the file may have been cut off"),
        ),
        csv::ErrorKind::Utf8 { .. } => {
            EvalError::record(path, line, "the text is not UTF-8: save it as UTF-8")
        }
        other => EvalError::record(path, line, format!("{other:?}")),
    }
}

impl Iterator for PredictionsReader {
    type Item = Result<Prediction, EvalError>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.next_record()?;
        Some(record.and_then(|record| {
            let label = record.label;
            record
                .prediction(label)
                .map_err(|error| self.wrong(without_name(error)))
        }))
    }
}

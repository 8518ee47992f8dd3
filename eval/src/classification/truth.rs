//! What is on the pictures.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::class_list::{ClassList, is_synset, read_text};
use super::reader::failed;
use crate::error::EvalError;
use crate::input::input_name;
use crate::strictness::{Skipped, Strictness};

/// A picture and its class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelledPicture {
    /// Its name, usually its path within the data set.
    pub name: String,
    /// Its class, from 0.
    pub label: usize,
    /// Line of the file that says so, counted from 1.
    pub line: u64,
}

/// The pictures of a validation set with their classes.
#[derive(Debug)]
pub struct PictureLabels {
    path: PathBuf,
    pictures: Vec<LabelledPicture>,
    by_name: HashMap<String, usize>,
    /// By the name without folders; nothing where two pictures share one.
    by_base: Option<HashMap<String, usize>>,
    /// Line `n` of the file is about picture number `n`.
    by_number: Option<HashMap<u64, usize>>,
}

impl PictureLabels {
    /// Reads a file of labels; its first line tells which of three kinds it is:
    ///
    /// - CSV of `file,label`, with or without a first line that calls the second column label,
    ///   class or target. A label is a class number from 0, or a name or key of `classes`;
    /// - lines of a file name and a label with white space between them;
    /// - ILSVRC's ground truth: line `n` holds the id, from 1, of picture
    ///   `ILSVRC2012_val_0000000n`. `synsets` lists the WordNet ids in the order of these ids (not
    ///   that of the classes: id 1 is n02119789, class 0 is n01440764), and a class is the place
    ///   of its WordNet id in `classes`, or else among the sorted ones. Without `synsets`, id `i`
    ///   is class `i - 1`.
    ///
    /// # Errors
    /// When the file cannot be read or labels nothing; under [`Strictness::Strict`] also when a
    /// line cannot be used.
    pub fn read(
        path: &Path,
        classes: Option<&ClassList>,
        synsets: Option<&ClassList>,
        strictness: Strictness,
    ) -> Result<(Self, Skipped), EvalError> {
        let text = read_text(path)?;
        let path = input_name(path);
        let first = text
            .lines()
            .find(|line| !line.trim().is_empty())
            .unwrap_or("")
            .trim();
        let ids = first.parse::<u64>().is_ok();
        let rows = if ids {
            ilsvrc(&path, &text, classes, synsets)?
        } else if first.contains(',') {
            csv_rows(&path, &text, classes)
        } else {
            spaced_rows(&path, &text, classes)
        };
        let mut skipped = Skipped::default();
        let mut pictures = Vec::new();
        let mut seen: HashMap<String, u64> = HashMap::new();
        for row in rows {
            let row =
                row.and_then(
                    |picture| match seen.insert(picture.name.clone(), picture.line) {
                        None => Ok(picture),
                        Some(first) => Err(EvalError::record(
                            &path,
                            picture.line,
                            format!(
                                "\"{}\" is labelled already on line {first}: label it once",
                                picture.name
                            ),
                        )),
                    },
                );
            match row {
                Ok(picture) => pictures.push(picture),
                Err(error) => skipped.meet(strictness, error)?,
            }
        }
        if pictures.is_empty() {
            return Err(EvalError::file(
                &path,
                "no picture is labelled in it: write lines of file,label",
            ));
        }
        Ok((Self::new(path, pictures, ids), skipped))
    }

    /// Pictures whose names are unique. `numbered`: their lines are their numbers.
    pub(super) fn new(path: PathBuf, pictures: Vec<LabelledPicture>, numbered: bool) -> Self {
        let by_name = (pictures.iter().enumerate())
            .map(|(at, picture)| (picture.name.clone(), at))
            .collect();
        let by_base: HashMap<String, usize> = (pictures.iter().enumerate())
            .map(|(at, picture)| (base(&picture.name).to_owned(), at))
            .collect();
        Self {
            path,
            by_name,
            by_base: Some(by_base).filter(|map| map.len() == pictures.len()),
            by_number: numbered.then(|| {
                let numbered = pictures.iter().enumerate();
                numbered.map(|(at, picture)| (picture.line, at)).collect()
            }),
            pictures,
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The pictures in order of the file.
    pub fn pictures(&self) -> &[LabelledPicture] {
        &self.pictures
    }

    /// The place of a picture: of the same name; else of the same name without folders, where
    /// these names differ from each other; else, for ILSVRC's ground truth, of the number that the
    /// name ends with.
    pub fn find(&self, name: &str) -> Option<usize> {
        let by_base = || self.by_base.as_ref()?.get(base(name)).copied();
        let by_number = || {
            self.by_number
                .as_ref()?
                .get(&trailing_number(name)?)
                .copied()
        };
        self.by_name
            .get(name)
            .copied()
            .or_else(by_base)
            .or_else(by_number)
    }
}

fn base(name: &str) -> &str {
    name.rsplit(['/', '\\']).next().unwrap_or(name)
}

/// The number a file name ends with: 12 of `val/ILSVRC2012_val_00000012.JPEG`.
pub(super) fn trailing_number(name: &str) -> Option<u64> {
    let stem = Path::new(base(name)).file_stem()?.to_str()?;
    let digits = stem.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    stem[digits..].parse().ok()
}

type Rows = Vec<Result<LabelledPicture, EvalError>>;

fn class_of(text: &str, classes: Option<&ClassList>) -> Result<usize, String> {
    match classes {
        Some(list) => list.find(text).ok_or_else(|| {
            format!(
                "label \"{text}\" is neither a number below {} nor the name of one class: correct \
                 it, or the class list",
                list.len()
            )
        }),
        None => text.parse().map_err(|_| {
            format!(
                "label \"{text}\" is no class number: write numbers from 0, or give a class list"
            )
        }),
    }
}

fn csv_rows(path: &Path, text: &str, classes: Option<&ClassList>) -> Rows {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(text.trim_start_matches('\u{feff}').as_bytes());
    let row = |record: Result<csv::StringRecord, csv::Error>| {
        record
            .map_err(|error| failed(path, error))
            .and_then(|record| {
                let line = record.position().map_or(0, csv::Position::line);
                let wrong = |problem: String| EvalError::record(path, line, problem);
                let (2, Some(file), Some(label)) = (record.len(), record.get(0), record.get(1))
                else {
                    return Err(wrong(format!(
                        "{} fields instead of 2: write rows of file,label",
                        record.len()
                    )));
                };
                if line == 1 && is_heading(label) {
                    return Ok(None);
                }
                let label = class_of(label, classes).map_err(wrong)?;
                let name = file.to_owned();
                Ok(Some(LabelledPicture { name, label, line }))
            })
    };
    reader
        .records()
        .map(row)
        .filter_map(Result::transpose)
        .collect()
}

fn is_heading(label: &str) -> bool {
    ["label", "class", "target"].contains(&label.to_ascii_lowercase().as_str())
}

fn lines(text: &str) -> impl Iterator<Item = (u64, &str)> {
    text.trim_end()
        .lines()
        .enumerate()
        .map(|(at, line)| (at as u64 + 1, line.trim()))
}

fn spaced_rows(path: &Path, text: &str, classes: Option<&ClassList>) -> Rows {
    let row = |(line, text): (u64, &str)| {
        let wrong = |problem: String| EvalError::record(path, line, problem);
        let Some((name, label)) = text.rsplit_once(char::is_whitespace) else {
            return Err(wrong(format!(
                "\"{text}\" is no label: write rows of file,label"
            )));
        };
        let label = class_of(label, classes).map_err(wrong)?;
        let name = name.trim().to_owned();
        Ok(LabelledPicture { name, label, line })
    };
    lines(text).map(row).collect()
}

fn ilsvrc(
    path: &Path,
    text: &str,
    classes: Option<&ClassList>,
    synsets: Option<&ClassList>,
) -> Result<Rows, EvalError> {
    let class_of_id = synsets.map(|list| ranks(list, classes)).transpose();
    let class_of_id = class_of_id.map_err(|problem| EvalError::file(path, problem))?;
    let row = |(line, text): (u64, &str)| {
        let id = text.parse::<usize>().ok().and_then(|id| id.checked_sub(1));
        let label = match (&class_of_id, id) {
            (Some(known), Some(id)) => known.get(id).copied(),
            (None, id) => id,
            (Some(_), None) => None,
        };
        let Some(label) = label else {
            let most = class_of_id
                .as_ref()
                .map(|known| format!(" to {}", known.len()));
            let problem = format!(
                "\"{text}\" is no ILSVRC id from 1{}: use the development kit's own file",
                most.unwrap_or_default()
            );
            return Err(EvalError::record(path, line, problem));
        };
        let name = format!("ILSVRC2012_val_{line:08}");
        Ok(LabelledPicture { name, label, line })
    };
    Ok(lines(text).map(row).collect())
}

/// The class of every ILSVRC id.
fn ranks(synsets: &ClassList, classes: Option<&ClassList>) -> Result<Vec<usize>, String> {
    let keys = synsets.keys();
    if let Some(at) = keys.iter().position(|key| !is_synset(key)) {
        return Err(format!(
            "its ids cannot be told apart: line {} of the list of synsets holds no WordNet id such \
             as n01440764",
            at + 1
        ));
    }
    let mut sorted = keys.to_vec();
    sorted.sort_unstable();
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!(
            "the list of synsets holds {} twice: list each once",
            pair[0]
        ));
    }
    let named = classes.filter(|list| list.keys().iter().all(|key| is_synset(key)));
    let class = |key: &String| match named {
        Some(list) => list
            .find_key(key)
            .ok_or_else(|| format!("synset {key} is not in the class list: add it there")),
        None => Ok(sorted.binary_search(key).unwrap_or_else(|place| place)),
    };
    keys.iter().map(class).collect()
}

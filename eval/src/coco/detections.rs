//! Detections: a COCO results file.

use std::path::Path;

use super::fields::{bbox, finite, set};
use super::ground_truth::GroundTruth;
use super::id::Id;
use super::records::{Ledger, Records};
use super::segmentation::MaskReader;
use crate::error::EvalError;
use crate::input::Input;
use crate::json::{Cursor, ElementsEnd, JsonError, Start, parse_elements};
use crate::rle::PreparedMask;
use crate::strictness::{Skipped, Strictness};

/// How much of a file is looked at in one go, in bytes.
const WINDOW: usize = 8 << 20;

/// What kind of results a file holds. pycocotools goes by the first result, and so do we.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultKind {
    /// No results.
    Empty,
    /// Boxes, perhaps with masks; a detection's area is its box's.
    Boxes {
        /// Whether the first result has a mask too.
        masks: bool,
    },
    /// Masks; a detection's area is its mask's, and so is its box unless it has one.
    Masks,
}

impl ResultKind {
    /// Whether the results say masks themselves.
    pub fn has_masks(self) -> bool {
        matches!(self, Self::Masks | Self::Boxes { masks: true })
    }
}

/// One detection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detection {
    /// Position of its picture in [`GroundTruth::images`].
    pub image: u32,
    /// Position of its category in [`GroundTruth::categories`].
    pub category: u32,
    /// Confidence; any finite number.
    pub score: f64,
    /// `[x, y, width, height]` in pixels.
    pub bbox: [f64; 4],
}

/// A results file's detections, in the file's order.
#[derive(Debug, Clone, PartialEq)]
pub struct Detections {
    rows: Vec<Detection>,
    /// Position in the file of each row, where rows were left out.
    numbers: Option<Vec<u32>>,
    masks: Option<Vec<PreparedMask>>,
    /// Areas of masks, where these decide.
    areas: Option<Vec<f64>>,
    kind: ResultKind,
    notes: Vec<String>,
}

/// An open results file, of which the beginning is known.
pub struct ResultsFile {
    input: Input,
    window: Vec<u8>,
    /// Where the first element stands in the window.
    start: usize,
    kind: ResultKind,
    window_size: usize,
}

impl ResultsFile {
    /// Opens a file; `-` is standard input, and gzip is understood.
    ///
    /// # Errors
    /// When it cannot be read or does not begin as a list of results.
    pub fn open(path: &Path) -> Result<Self, EvalError> {
        Self::with_window(Input::open(path)?, WINDOW)
    }

    /// Reads from text; `name` is what errors call it.
    ///
    /// # Errors
    /// When it does not begin as a list of results.
    pub fn from_json(name: &Path, text: Vec<u8>) -> Result<Self, EvalError> {
        Self::with_window(Input::from_bytes(name, text), WINDOW)
    }

    fn with_window(mut input: Input, window_size: usize) -> Result<Self, EvalError> {
        let mut window = Vec::new();
        let mut whole = input.read_more(window_size, &mut window)? < window_size;
        let mut cursor = Cursor::new(&window, 0);
        if window.starts_with(b"\xef\xbb\xbf") {
            cursor.seek(3);
        }
        match cursor.peek() {
            Some(b'[') => {}
            Some(b'{') => {
                return Err(EvalError::file(
                    input.name(),
                    "this is an object, as annotation files are, and not a list of results: give the ground truth and the predictions the other way round, or take the list out of it",
                ));
            }
            None => {
                return Err(EvalError::file(
                    input.name(),
                    "it is empty; no results are []",
                ));
            }
            Some(_) => {
                return Err(EvalError::file(
                    input.name(),
                    "this is no results file, which is a JSON list",
                ));
            }
        }
        let start = cursor.at() + 1;
        // The first result decides what kind of file it is; it may be longer than a window.
        let kind = loop {
            match first_kind(&window, start) {
                Ok(kind) => break kind,
                Err(_) if !whole => {
                    let more = window.len();
                    whole = input.read_more(more, &mut window)? < more;
                }
                Err(error) => return Err(Ledger::new(input.name(), "result").failure(error)),
            }
        };
        Ok(Self {
            input,
            window,
            start,
            kind,
            window_size,
        })
    }

    /// What the first result is.
    pub fn kind(&self) -> ResultKind {
        self.kind
    }

    /// Reads all results on pictures of `truth`, with masks where it has them.
    ///
    /// Results of categories that the ground truth does not list are left out, as pycocotools does,
    /// and told by [`Detections::notes`]. `progress` is called with the bytes read so far.
    ///
    /// # Errors
    /// When the file is no valid JSON or a result is unusable; under [`Strictness::Lenient`] unusable
    /// results are skipped, and so is what follows a fault of the JSON itself.
    pub fn read(
        mut self,
        truth: &GroundTruth,
        strictness: Strictness,
        progress: &dyn Fn(u64),
    ) -> Result<(Detections, Skipped), EvalError> {
        let name = self.input.name().to_owned();
        let mut ledger = Ledger::new(&name, "result");
        let reader = DetectionReader {
            truth,
            kind: self.kind,
            masks: truth.geometry().masks,
        };
        let mut collected = Rows::default();
        let (mut at, mut from) = (self.start, Start::Opening);
        loop {
            let found = parse_elements(
                &self.window,
                at,
                from,
                Records::<Rows>::default,
                |records, cursor| {
                    let number = records.seen;
                    records.read(cursor, strictness, |rows, cursor| {
                        reader.read(cursor, number, rows)
                    })
                },
            );
            for piece in found.pieces {
                let before = ledger.seen;
                collected.append(ledger.enter(piece), before);
            }
            let ElementsEnd::Cut(next) = found.end else {
                ledger.end(&found.end, self.window.len(), strictness)?;
                break;
            };
            // Keep what is not read yet, and read on: as much again where one result fills it all.
            ledger.offset += found.at as u64;
            self.window.drain(..found.at);
            (at, from) = (0, next);
            let more = self.window_size.max(self.window.len());
            let read = self.input.read_more(more, &mut self.window)?;
            progress(ledger.offset + self.window.len() as u64);
            if read == 0 {
                ledger.end(&found.end, self.window.len(), strictness)?;
                break;
            }
        }
        let mut notes = Vec::new();
        if ledger.passed_over > 0 {
            notes.push(format!(
                "{}: {} results are of categories that the ground truth does not list, and are left out as pycocotools does",
                name.display(),
                ledger.passed_over
            ));
        }
        if reader.masks && self.kind == (ResultKind::Boxes { masks: false }) {
            notes.push(format!(
                "{}: the results have no masks, so their boxes were scored as masks",
                name.display()
            ));
        }
        let all_kept = collected.rows.len() as u64 == ledger.seen;
        Ok((
            Detections {
                rows: collected.rows,
                numbers: (!all_kept).then_some(collected.numbers),
                masks: reader.masks.then_some(collected.masks),
                areas: (self.kind == ResultKind::Masks).then_some(collected.areas),
                kind: self.kind,
                notes,
            },
            ledger.into_skipped(),
        ))
    }
}

impl Detections {
    /// The detections in the file's order.
    pub fn rows(&self) -> &[Detection] {
        &self.rows
    }

    /// What pycocotools calls the detection's id: its position in the file, counted from 1.
    pub fn id(&self, row: usize) -> u64 {
        1 + match &self.numbers {
            Some(numbers) => u64::from(numbers[row]),
            None => row as u64,
        }
    }

    /// The mask of a detection, where masks were read.
    pub fn mask(&self, row: usize) -> Option<&PreparedMask> {
        self.masks.as_ref().map(|masks| &masks[row])
    }

    /// The area that decides whether an unmatched detection counts, in square pixels.
    pub fn area(&self, row: usize) -> f64 {
        match &self.areas {
            Some(areas) => areas[row],
            None => self.rows[row].bbox[2] * self.rows[row].bbox[3],
        }
    }

    /// What kind of file it was.
    pub fn kind(&self) -> ResultKind {
        self.kind
    }

    /// What a user should know about the file, a sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

/// What a thread makes of results.
#[derive(Debug, Default)]
struct Rows {
    rows: Vec<Detection>,
    numbers: Vec<u32>,
    masks: Vec<PreparedMask>,
    areas: Vec<f64>,
    reader: MaskReader,
}

impl Rows {
    /// Adds later rows, whose numbers count from `before`.
    fn append(&mut self, mut later: Self, before: u64) {
        self.rows.append(&mut later.rows);
        self.masks.append(&mut later.masks);
        self.areas.append(&mut later.areas);
        self.numbers
            .extend(later.numbers.iter().map(|&number| number + before as u32));
    }
}

/// The kind of the first element after the opening bracket.
fn first_kind(text: &[u8], start: usize) -> Result<ResultKind, JsonError> {
    let mut cursor = Cursor::new(text, start);
    if cursor.peek() == Some(b']') {
        return Ok(ResultKind::Empty);
    }
    if cursor.peek().is_some_and(|byte| byte != b'{') {
        return Err(cursor.meaning("it is not an object: a result has image_id, category_id, score and bbox or segmentation"));
    }
    let (mut boxes, mut masks) = (false, false);
    cursor.object(|key, cursor| match key {
        b"bbox" => {
            // An empty list stands for no box.
            cursor.peek();
            let mut inner = cursor.clone();
            boxes = !(inner.take(b'[') && inner.peek() == Some(b']'));
            cursor.skip()
        }
        b"segmentation" => {
            masks = true;
            cursor.skip()
        }
        _ => cursor.skip(),
    })?;
    match (boxes, masks) {
        (true, masks) => Ok(ResultKind::Boxes { masks }),
        (false, true) => Ok(ResultKind::Masks),
        (false, false) => Err(cursor.meaning("it has neither bbox nor segmentation")),
    }
}

struct DetectionReader<'a> {
    truth: &'a GroundTruth,
    kind: ResultKind,
    masks: bool,
}

impl DetectionReader<'_> {
    /// Passes a result; whether it was kept. `number` counts within the thread's piece.
    #[inline]
    fn read(
        &self,
        cursor: &mut Cursor<'_>,
        number: u64,
        rows: &mut Rows,
    ) -> Result<bool, JsonError> {
        let (mut image, mut category, mut score) = (None, None, None);
        let (mut bounds, mut segmentation) = (None, None);
        let needed = self.kind == ResultKind::Masks || self.masks;
        cursor.object(|key, cursor| match key {
            b"image_id" => set(&mut image, Id::parse(cursor, "image_id")?),
            b"category_id" => set(&mut category, Id::parse(cursor, "category_id")?),
            b"score" => set(&mut score, finite(cursor, "score")?),
            b"bbox" => set(&mut bounds, bbox(cursor)?),
            b"segmentation" if needed => {
                cursor.peek();
                segmentation = Some(cursor.at());
                cursor.skip()
            }
            _ => cursor.skip(),
        })?;
        let missing = |field: &str| cursor.meaning(format!("it has no {field}"));
        let bounds = bounds.flatten();
        let image_id = image.ok_or_else(|| missing("image_id"))?;
        let category = category.ok_or_else(|| missing("category_id"))?;
        let score = score.ok_or_else(|| missing("score"))?;
        let Some(image) = self.truth.image_index.get(&image_id) else {
            return Err(cursor.meaning(format!(
                "image_id {image_id} is not in the ground truth: are these results of another data set or split?"
            )));
        };
        let mask = self.mask(cursor, image, bounds, segmentation, &mut rows.reader)?;
        let bbox = match (self.kind, bounds, &mask) {
            (_, Some(bounds), _) => bounds,
            (ResultKind::Masks, None, Some(mask)) => mask.bounding_box(),
            _ => return Err(cursor.meaning("it has no bbox, which the first result has")),
        };
        let Some(category) = self.truth.category_index.get(&category) else {
            return Ok(false);
        };
        rows.rows.push(Detection {
            image: image as u32,
            category: category as u32,
            score,
            bbox,
        });
        // Positions beyond this cannot be told apart, but nothing else depends on them.
        rows.numbers.push(u32::try_from(number).unwrap_or(u32::MAX));
        if let Some(mask) = mask {
            if self.kind == ResultKind::Masks {
                rows.areas.push(mask.area() as f64);
            }
            if self.masks {
                rows.masks.push(mask);
            }
        }
        Ok(true)
    }

    fn mask(
        &self,
        cursor: &mut Cursor<'_>,
        image: usize,
        bounds: Option<[f64; 4]>,
        segmentation: Option<usize>,
        reader: &mut MaskReader,
    ) -> Result<Option<PreparedMask>, JsonError> {
        let picture = &self.truth.images()[image];
        if let Some(at) = segmentation {
            let end = cursor.at();
            cursor.seek(at);
            let mask = reader.read(cursor, picture.height, picture.width);
            cursor.seek(end);
            return mask.map(Some);
        }
        match (self.kind, bounds) {
            (ResultKind::Masks, _) => {
                Err(cursor.meaning("it has no segmentation, which the first result has"))
            }
            (_, Some(bounds)) if self.masks => {
                let mask = reader.of_box(bounds, picture.height, picture.width);
                mask.map(Some)
                    .map_err(|error| cursor.meaning(format!("bbox: {error}")))
            }
            _ => Ok(None),
        }
    }
}

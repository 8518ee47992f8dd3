//! Results whose boxes are put aside, so that masks alone decide.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use serde::de::{Deserializer as _, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::detections::ResultsFile;
use crate::error::EvalError;

impl ResultsFile {
    /// Opens a results file that is not compressed without its boxes, as detectron2's evaluator puts them
    /// aside before it scores masks: with them pycocotools sorts detections into small, medium and large by
    /// the areas of boxes.
    ///
    /// # Errors
    /// When the file cannot be read or is no list of results.
    pub fn open_without_boxes(path: &Path) -> Result<Self, EvalError> {
        Self::from_json(path, without_boxes(path)?)
    }
}

/// A results file's text without `bbox`, result by result: the whole tree is never in memory.
fn without_boxes(path: &Path) -> Result<Vec<u8>, EvalError> {
    let file = File::open(path).map_err(|source| EvalError::Read {
        path: path.to_owned(),
        source,
    })?;
    let mut reader = serde_json::Deserializer::from_reader(BufReader::new(file));
    reader
        .deserialize_seq(WithoutBoxes)
        .map_err(|error| EvalError::File {
            path: path.to_owned(),
            problem: format!("{error}: this is no list of results"),
        })
}

struct WithoutBoxes;

impl<'de> Visitor<'de> for WithoutBoxes {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of results")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut results: A) -> Result<Vec<u8>, A::Error> {
        let mut text = vec![b'['];
        while let Some(mut result) = results.next_element::<Map<String, Value>>()? {
            result.remove("bbox");
            if text.len() > 1 {
                text.push(b',');
            }
            serde_json::to_writer(&mut text, &result).map_err(serde::de::Error::custom)?;
        }
        text.push(b']');
        Ok(text)
    }
}

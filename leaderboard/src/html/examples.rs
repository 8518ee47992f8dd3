//! The same pictures under every system.

use super::HtmlError;
use super::pictures::Picture;
use crate::board::{Answer, Example, TaskBoard};

/// Pictures down, systems across.
pub struct Grid {
    /// Heads of the columns behind the truth.
    pub systems: Vec<String>,
    /// One per picture.
    pub rows: Vec<Row>,
}

/// One picture.
pub struct Row {
    /// Its name.
    pub name: String,
    /// With its ground truth.
    pub truth: Picture,
    /// The truth in words; may be empty.
    pub caption: String,
    /// One per system; none where it lacks the picture.
    pub answers: Vec<Option<Reply>>,
}

/// What a system says.
pub struct Reply {
    /// With the prediction, where that can be drawn.
    pub picture: Option<Picture>,
    /// In words; may be empty.
    pub caption: String,
    /// "right" or "wrong", or empty.
    pub verdict: &'static str,
    /// The sign of the verdict.
    pub sign: &'static str,
}

impl Grid {
    /// None where there are no examples.
    pub fn new(task: &TaskBoard) -> Result<Option<Self>, HtmlError> {
        if task.examples.is_empty() {
            return Ok(None);
        }
        let systems: Vec<String> = task.systems.iter().map(|s| s.system.clone()).collect();
        let rows = task
            .examples
            .iter()
            .map(|example| Row::new(example, &systems));
        let rows = rows.collect::<Result<_, _>>()?;
        Ok(Some(Self { systems, rows }))
    }
}

impl Grid {
    /// Whether systems answer in words alone, so that the pictures need little room.
    pub fn bare(&self) -> bool {
        let mut answers = self
            .rows
            .iter()
            .flat_map(|row| row.answers.iter().flatten());
        answers.all(|answer| answer.picture.is_none())
    }
}

impl Row {
    fn new(example: &Example, systems: &[String]) -> Result<Self, HtmlError> {
        let alt = described(
            &format!("Ground truth of {}", example.name),
            &example.truth_caption,
        );
        let mut answers = Vec::new();
        for (place, system) in systems.iter().enumerate() {
            let answer = example.answers.get(place).and_then(Option::as_ref);
            let alt = format!("{system} on {}", example.name);
            answers.push(answer.map(|answer| Reply::new(answer, &alt)).transpose()?);
        }
        Ok(Self {
            name: example.name.clone(),
            truth: Picture::read(&example.truth, alt)?,
            caption: example.truth_caption.clone(),
            answers,
        })
    }
}

impl Reply {
    fn new(answer: &Answer, alt: &str) -> Result<Self, HtmlError> {
        let alt = described(alt, &answer.caption);
        let picture = answer.picture.as_ref();
        let (sign, verdict) = match answer.right {
            Some(true) => ("✓", "right"),
            Some(false) => ("✗", "wrong"),
            None => ("", ""),
        };
        Ok(Self {
            picture: picture.map(|path| Picture::read(path, alt)).transpose()?,
            caption: answer.caption.clone(),
            verdict,
            sign,
        })
    }
}

fn described(what: &str, caption: &str) -> String {
    match caption.is_empty() {
        true => what.to_owned(),
        false => format!("{what}: {caption}"),
    }
}

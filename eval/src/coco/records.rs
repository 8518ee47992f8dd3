//! Records of a JSON list on their way from text to rows: collected, refused, or passed over.

use std::path::Path;

use crate::error::EvalError;
use crate::json::{Cursor, ElementsEnd, JsonError, Problem};
use crate::strictness::{Skipped, Strictness};

/// What one thread makes of its records.
#[derive(Debug)]
pub(crate) struct Records<T> {
    /// What was collected.
    pub rows: T,
    /// Records seen, refused ones included.
    pub seen: u64,
    /// Records that are right but of no concern, such as those of an unknown category.
    pub passed_over: u64,
    refused: u64,
    first_refused: Option<(u64, String)>,
}

impl<T: Default> Default for Records<T> {
    fn default() -> Self {
        Self {
            rows: T::default(),
            seen: 0,
            passed_over: 0,
            refused: 0,
            first_refused: None,
        }
    }
}

impl<T> Records<T> {
    /// Reads one record. `parse` passes it and adds a row, or tells that it is of no concern; when it
    /// fails it has added nothing.
    #[inline]
    pub(crate) fn read(
        &mut self,
        cursor: &mut Cursor<'_>,
        strictness: Strictness,
        parse: impl FnOnce(&mut T, &mut Cursor<'_>) -> Result<bool, JsonError>,
    ) -> Result<(), JsonError> {
        cursor.peek();
        let start = cursor.at();
        match parse(&mut self.rows, cursor) {
            Ok(kept) => self.passed_over += u64::from(!kept),
            Err(JsonError {
                problem: Problem::Meaning(problem),
                ..
            }) if strictness == Strictness::Lenient => {
                cursor.seek(start);
                cursor.skip()?;
                self.refused += 1;
                self.first_refused.get_or_insert((self.seen, problem));
            }
            Err(error) => return Err(error),
        }
        self.seen += 1;
        Ok(())
    }
}

/// Where records stand, and what became of those read so far.
#[derive(Debug)]
pub(crate) struct Ledger<'a> {
    path: &'a Path,
    kind: &'static str,
    /// Bytes before the text at hand.
    pub offset: u64,
    /// Records read.
    pub seen: u64,
    /// Of these, the ones of no concern.
    pub passed_over: u64,
    skipped: Skipped,
}

impl<'a> Ledger<'a> {
    /// For a list of "annotation" or "result" records.
    pub(crate) fn new(path: &'a Path, kind: &'static str) -> Self {
        Self {
            path,
            kind,
            offset: 0,
            seen: 0,
            passed_over: 0,
            skipped: Skipped::default(),
        }
    }

    /// Enters what a thread found; threads must be entered in the order of the text.
    pub(crate) fn enter<T>(&mut self, records: Records<T>) -> T {
        if let Some((number, problem)) = records.first_refused {
            let first = self.item(self.seen + number, problem);
            self.skipped.merge(Skipped::of(records.refused, first));
        }
        self.seen += records.seen;
        self.passed_over += records.passed_over;
        records.rows
    }

    /// What a failure of the record after the last one read is for the user.
    pub(crate) fn failure(&self, error: JsonError) -> EvalError {
        let problem = sentence(error, self.offset);
        self.item(self.seen, problem)
    }

    /// What the end of the text in the middle of the list is for the user.
    pub(crate) fn cut(&self, length: usize) -> EvalError {
        self.failure(JsonError {
            at: length,
            problem: Problem::End,
        })
    }

    /// Meets the end of the list: in a lenient reading, what follows a fault is left out.
    pub(crate) fn end(
        &mut self,
        end: &ElementsEnd,
        length: usize,
        strictness: Strictness,
    ) -> Result<(), EvalError> {
        let error = match end {
            ElementsEnd::Closed => return Ok(()),
            ElementsEnd::Cut(_) => self.cut(length),
            ElementsEnd::Failed(error) => self.failure(error.clone()),
        };
        self.skipped.meet(strictness, error)
    }

    /// Records left out so far.
    pub(crate) fn into_skipped(self) -> Skipped {
        self.skipped
    }

    fn item(&self, number: u64, problem: String) -> EvalError {
        EvalError::item(self.path, format!("{} {number}", self.kind), problem)
    }
}

/// A failure of reading as part of a sentence; `offset` bytes stand before the text.
pub(crate) fn sentence(error: JsonError, offset: u64) -> String {
    let at = offset + error.at as u64;
    match error.problem {
        Problem::End => {
            format!(
                "the text ends at byte {at} in the middle of a value: the file was cut off, so write or fetch it again"
            )
        }
        Problem::Syntax(wanted) => {
            format!("not valid JSON at byte {at}, where {wanted} is expected")
        }
        Problem::Meaning(sentence) => sentence,
    }
}

//! What happens to a record that cannot be scored: an error, or left out and counted.

use crate::error::EvalError;

/// How records that cannot be scored are met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strictness {
    /// The first one is an error.
    #[default]
    Strict,
    /// They are left out and counted.
    Lenient,
}

/// Records left out under [`Strictness::Lenient`]: how many, and why the first one was.
#[derive(Debug, Default)]
pub struct Skipped {
    count: u64,
    first: Option<EvalError>,
}

impl Skipped {
    /// Meets a record that cannot be scored.
    ///
    /// # Errors
    /// The given error, under [`Strictness::Strict`].
    pub fn meet(&mut self, strictness: Strictness, error: EvalError) -> Result<(), EvalError> {
        match strictness {
            Strictness::Strict => Err(error),
            Strictness::Lenient => {
                self.count += 1;
                self.first.get_or_insert(error);
                Ok(())
            }
        }
    }

    /// Records left out before this was made; `first` is why the first of them was.
    pub(crate) fn of(count: u64, first: EvalError) -> Self {
        Self {
            count,
            first: Some(first),
        }
    }

    /// Adds what another part of the same input left out; `other` comes after `self` in the file.
    pub fn merge(&mut self, other: Self) {
        self.count += other.count;
        if self.first.is_none() {
            self.first = other.first;
        }
    }

    /// How many records were left out.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Why the first of them was.
    pub fn first(&self) -> Option<&EvalError> {
        self.first.as_ref()
    }
}

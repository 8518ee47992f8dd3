//! Numbers of discrete tokens that some tokenizer gave each patch, read from disk (BEiT, arXiv 2106.08254).
//! Parity: `targets`.

use std::collections::HashMap;
use std::path::Path;

use tch::{Kind, Tensor};

use super::{Seen, Shown, Target, wide};
use crate::PretrainError;

/// The number of each patch's token; cross-entropy.
#[derive(Debug)]
pub struct TokensTarget {
    vocabulary: i64,
}

impl TokensTarget {
    /// Tokens are numbered from 0 to `vocabulary - 1`.
    pub fn new(vocabulary: i64) -> Self {
        Self { vocabulary }
    }
}

impl Target for TokensTarget {
    fn width(&self) -> i64 {
        self.vocabulary
    }

    fn values(&self) -> i64 {
        1
    }

    fn all(&self, seen: Seen) -> Tensor {
        seen.tokens
            .expect("a task with this target gives each batch its tokens")
            .unsqueeze(-1)
    }

    fn patch_losses(&self, prediction: &Tensor, target: &Tensor) -> Tensor {
        let prediction = wide(prediction);
        let likely = prediction.log_softmax(-1, prediction.kind());
        -likely
            .gather(-1, &target.to_kind(Kind::Int64), false)
            .squeeze_dim(-1)
    }

    /// The probability that is given to the right token.
    fn shown(&self, prediction: &Tensor, seen: Seen) -> Shown {
        let losses = self.patch_losses(prediction, &self.all(seen));
        Shown::Nearness((-losses).exp())
    }
}

/// Tokens of every picture of a data set: a folder with `names.txt`, one picture a line as the data set names
/// it, and `tokens.safetensors`, whose tensor `tokens` has a row of patches for each, in the same order.
#[derive(Debug)]
pub struct TokenFile {
    rows: HashMap<String, i64>,
    tokens: Tensor,
    patches: i64,
}

impl TokenFile {
    /// Reads a folder; every picture must have `patches` tokens below `vocabulary`.
    ///
    /// # Errors
    /// [`PretrainError::Tokens`] where a file is missing or is not as said.
    pub fn read(folder: &Path, patches: i64, vocabulary: i64) -> Result<Self, PretrainError> {
        let names = folder.join("names.txt");
        let refuse = |path: &Path, problem: String| PretrainError::Tokens {
            path: path.to_owned(),
            problem,
        };
        let text = std::fs::read_to_string(&names)
            .map_err(|error| refuse(&names, format!("cannot be read: {error}")))?;
        let mut rows = HashMap::new();
        for (row, name) in (0i64..).zip(text.lines()) {
            if rows.insert(name.to_owned(), row).is_some() {
                return Err(refuse(
                    &names,
                    format!("line {}: {name} is there twice", row + 1),
                ));
            }
        }
        let file = folder.join("tokens.safetensors");
        let found = Tensor::read_safetensors(&file).map_err(|error| {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default().to_owned();
            refuse(&file, format!("cannot be read: {first}"))
        })?;
        let tokens = found
            .into_iter()
            .find_map(|(name, tensor)| (name == "tokens").then_some(tensor))
            .ok_or_else(|| refuse(&file, "has no tensor named tokens".into()))?;
        let wanted = [rows.len() as i64, patches];
        if tokens.size() != wanted {
            let found = tokens.size();
            return Err(refuse(
                &file,
                format!(
                    "tokens is {found:?} and should be {wanted:?}: a row for each line of names.txt, a number for each patch of the trunk"
                ),
            ));
        }
        if tokens.is_floating_point() {
            return Err(refuse(&file, "tokens must be integers".into()));
        }
        let (least, most) = tokens.aminmax(None::<i64>, false);
        let (least, most) = (least.int64_value(&[]), most.int64_value(&[]));
        if least < 0 || most >= vocabulary {
            return Err(refuse(
                &file,
                format!(
                    "tokens are from {least} to {most}, and target.vocabulary = {vocabulary} allows 0 to {}",
                    vocabulary - 1
                ),
            ));
        }
        Ok(Self {
            rows,
            tokens,
            patches,
        })
    }

    /// Tokens of the pictures `names`, `[B, L]`.
    ///
    /// # Errors
    /// [`PretrainError::NoTokens`] for a picture that the folder does not have.
    pub fn of(&self, names: &[String]) -> Result<Tensor, PretrainError> {
        let rows = names
            .iter()
            .map(|name| {
                self.rows
                    .get(name)
                    .copied()
                    .ok_or_else(|| PretrainError::NoTokens(name.clone()))
            })
            .collect::<Result<Vec<i64>, _>>()?;
        Ok(self
            .tokens
            .index_select(0, &Tensor::from_slice(&rows))
            .to_kind(Kind::Int64)
            .view([-1, self.patches]))
    }
}

//! Which part of each optimiser step a process makes.

use crate::{EngineError, TrainerConfig};

/// A process's part of every step. A step has `accumulate` batches of `batch_size` samples; where the
/// processes cannot share them out whole, each batch is cut into equal pieces. The pieces of an epoch are
/// numbered in order, and number `n` goes to process `n` modulo their count, so a step sees the same samples
/// whatever that count.
///
/// A forward pass is over one piece: a step by several processes equals that of one process with
/// `batch_size / pieces` and `accumulate * pieces`, up to the order of sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// This process, from 0.
    pub rank: usize,
    /// Processes.
    pub ranks: usize,
    /// Pieces of a batch.
    pub pieces: usize,
    /// Forward passes of this process in a step.
    pub passes: usize,
}

impl Share {
    /// Everything: the share of one process alone.
    pub fn whole(config: &TrainerConfig) -> Self {
        Self {
            rank: 0,
            ranks: 1,
            pieces: 1,
            passes: config.accumulate,
        }
    }

    /// The share of process `rank` of `ranks`. A model with statistics over batches, which the processes
    /// then compute together, has each batch cut among all of them (`cut_batches`).
    ///
    /// # Errors
    /// When the processes cannot have equal shares.
    pub fn new(
        config: &TrainerConfig,
        rank: usize,
        ranks: usize,
        cut_batches: bool,
    ) -> Result<Self, EngineError> {
        let (batch, accumulate) = (config.batch_size, config.accumulate);
        let pieces = match cut_batches {
            true => ranks,
            false => ranks / greatest_common_divisor(accumulate, ranks),
        };
        if !batch.is_multiple_of(pieces) {
            let why = match cut_batches {
                true => format!("each batch of batch_size = {batch}"),
                false => format!("accumulate = {accumulate} batches of batch_size = {batch}"),
            };
            return Err(EngineError::Config(format!(
                "{ranks} processes cannot have equal shares of {why}: start a number of processes that divides {}, or change trainer.batch_size and trainer.accumulate",
                if cut_batches {
                    batch
                } else {
                    batch * accumulate
                }
            )));
        }
        Ok(Self {
            rank,
            ranks,
            pieces,
            passes: accumulate * pieces / ranks,
        })
    }

    /// The number within a step of this process's forward pass `pass`.
    pub(crate) fn piece(&self, pass: usize) -> usize {
        pass * self.ranks + self.rank
    }
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(batch_size: usize, accumulate: usize) -> TrainerConfig {
        toml::from_str(&format!(
            "epochs = 1\nbatch_size = {batch_size}\naccumulate = {accumulate}\noptimizer = {{ name = \"adamw\" }}\nschedule = {{ shape = \"cosine\", base_lr = 1e-3, min_lr = 0.0, warmup_epochs = 1 }}"
        ))
        .unwrap()
    }

    #[test]
    fn whole_batches_go_round_where_they_can() {
        for (batch, accumulate, ranks, pieces, passes) in [
            (64, 4, 1, 1, 4),
            (64, 4, 2, 1, 2),
            (64, 4, 4, 1, 1),
            (64, 4, 8, 2, 1),
            (64, 1, 2, 2, 1),
            (128, 32, 64, 2, 1),
            (6, 4, 6, 3, 2),
        ] {
            let config = config(batch, accumulate);
            let share = Share::new(&config, 0, ranks, false).unwrap();
            assert_eq!((share.pieces, share.passes), (pieces, passes), "{share:?}");
            assert_eq!(
                batch / share.pieces * share.passes * ranks,
                batch * accumulate
            );
        }
    }

    #[test]
    fn statistics_over_batches_stay_those_of_the_recipe() {
        let share = Share::new(&config(16, 2), 1, 8, true).unwrap();
        assert_eq!((share.pieces, share.passes), (8, 2));
        assert_eq!((share.piece(0), share.piece(1)), (1, 9));
    }

    #[test]
    fn unequal_shares_are_refused_with_what_would_work() {
        for (ranks, cut) in [(7, false), (3, true)] {
            let message = Share::new(&config(16, 2), 0, ranks, cut)
                .unwrap_err()
                .to_string();
            assert!(message.contains("batch_size = 16"), "{message}");
        }
    }
}

//! Batches built ahead of time on worker threads.
//!
//! Order and contents follow from the configuration alone: the shuffle from the seed and the epoch, a
//! sample's randomness from its own seed. Threads and prefetch depth only change the speed. At most
//! `prefetch` batches exist besides the one handed out, so a slow consumer stops the workers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::dataset::{Dataset, sample_seed};
use crate::error::DataError;
use crate::pending::{Pending, sample};

/// How batches are put together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoaderConfig {
    /// Samples a batch.
    pub batch_size: usize,
    /// A new order every epoch.
    pub shuffle: bool,
    /// Leave out the last batch where it is not full.
    pub drop_last: bool,
    /// Worker threads; 0 takes one for each core.
    pub threads: usize,
    /// Batches prepared ahead, at least 1.
    pub prefetch: usize,
    /// Seed of order and samples.
    pub seed: u64,
    /// Which part of the epoch this process takes.
    pub shard: Shard,
}

/// A process's part of an epoch. Every process has the same order of batches, each cut into `pieces` equal
/// ones; the pieces go round, number `n` to process `n` modulo `ranks`. No sample is taken twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shard {
    /// This process, from 0.
    pub rank: usize,
    /// Processes that share the epoch.
    pub ranks: usize,
    /// Pieces of a batch.
    pub pieces: usize,
}

impl Shard {
    /// All of it.
    pub const WHOLE: Self = Self {
        rank: 0,
        ranks: 1,
        pieces: 1,
    };
}

impl Default for Shard {
    fn default() -> Self {
        Self::WHOLE
    }
}

impl Default for LoaderConfig {
    fn default() -> Self {
        Self {
            batch_size: 64,
            shuffle: false,
            drop_last: false,
            threads: 0,
            prefetch: 2,
            seed: 0,
            shard: Shard::WHOLE,
        }
    }
}

impl LoaderConfig {
    fn check(&self) -> Result<(), DataError> {
        let refuse =
            |key: &str, problem: &str| Err(DataError::config(format!("loader.{key}"), problem));
        if self.batch_size == 0 {
            return refuse("batch_size", "must be at least 1");
        }
        if self.prefetch == 0 {
            return refuse("prefetch", "must be at least 1");
        }
        if self.shard.rank >= self.shard.ranks {
            return refuse("shard.rank", "must be below shard.ranks");
        }
        let pieces = self.shard.pieces;
        if pieces == 0 || !self.batch_size.is_multiple_of(pieces) {
            return refuse("shard.pieces", "must divide batch_size");
        }
        Ok(())
    }
}

/// Batches of a data set. Owns its worker threads.
#[derive(Debug)]
pub struct Loader<D: Dataset> {
    dataset: Arc<D>,
    config: LoaderConfig,
    pool: rayon::ThreadPool,
}

impl<D: Dataset + 'static> Loader<D> {
    /// Starts the worker threads.
    ///
    /// # Errors
    /// When a setting is out of range, no batch can be made, or threads cannot be started.
    pub fn new(dataset: Arc<D>, config: LoaderConfig) -> Result<Self, DataError> {
        config.check()?;
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(config.threads)
            .thread_name(|i| format!("loader-{i}"))
            .build()
            .map_err(|error| DataError::Threads(error.to_string()))?;
        let loader = Self {
            dataset,
            config,
            pool,
        };
        if loader.batches() == 0 {
            return Err(DataError::config(
                "loader.batch_size",
                format!(
                    "{} samples make no full batch of {}: take a smaller batch or set drop_last = false",
                    loader.dataset.len(),
                    loader.config.batch_size
                ),
            ));
        }
        Ok(loader)
    }

    /// The data set.
    pub fn dataset(&self) -> &Arc<D> {
        &self.dataset
    }

    /// The configuration.
    pub fn config(&self) -> &LoaderConfig {
        &self.config
    }

    /// Batches an epoch, of all processes together and before they are cut into pieces.
    pub fn batches(&self) -> usize {
        let total = self.dataset.len();
        match self.config.drop_last {
            true => total / self.config.batch_size,
            false => total.div_ceil(self.config.batch_size),
        }
    }

    /// This process's pieces of an epoch's batches, in order and without those of the first `skip_batches`
    /// batches (which are not read either).
    pub fn epoch(&self, epoch: u64, skip_batches: usize) -> EpochIter<'_, D> {
        let Shard {
            rank,
            ranks,
            pieces,
        } = self.config.shard;
        let order = self.order(epoch);
        let batches: VecDeque<Vec<u32>> = order
            .chunks(self.config.batch_size / pieces)
            .take(self.batches() * pieces)
            .enumerate()
            .skip(skip_batches * pieces)
            .filter(|(number, _)| number % ranks == rank)
            .map(|(_, piece)| piece.to_vec())
            .collect();
        let mut iter = EpochIter {
            loader: self,
            epoch,
            waiting: batches,
            running: VecDeque::new(),
            stop: Arc::default(),
        };
        iter.fill();
        iter
    }

    /// Sample indices in the order of an epoch.
    fn order(&self, epoch: u64) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.dataset.len() as u32).collect();
        if self.config.shuffle {
            // An index no sample has keeps this stream apart from the samples' own.
            order.shuffle(&mut ChaCha8Rng::seed_from_u64(sample_seed(
                self.config.seed,
                epoch,
                u64::MAX,
            )));
        }
        order
    }
}

/// Iterator over an epoch's batches; ends after the first error. Dropping it stops the workers after the
/// samples they are at.
#[derive(Debug)]
pub struct EpochIter<'a, D: Dataset> {
    loader: &'a Loader<D>,
    epoch: u64,
    /// Batches not begun.
    waiting: VecDeque<Vec<u32>>,
    running: VecDeque<Arc<Pending<D::Sample>>>,
    stop: Arc<AtomicBool>,
}

impl<D: Dataset + 'static> EpochIter<'_, D> {
    /// Begins batches up to the prefetch depth.
    fn fill(&mut self) {
        while self.running.len() < self.loader.config.prefetch {
            let Some(indices) = self.waiting.pop_front() else {
                return;
            };
            let pending = Arc::new(Pending::new(indices.len()));
            for (at, index) in indices.into_iter().enumerate() {
                let dataset = Arc::clone(&self.loader.dataset);
                let pending = Arc::clone(&pending);
                let stop = Arc::clone(&self.stop);
                let seed = sample_seed(self.loader.config.seed, self.epoch, u64::from(index));
                self.loader.pool.spawn_fifo(move || {
                    let result = (!stop.load(Ordering::Relaxed))
                        .then(|| sample(&*dataset, index as usize, seed));
                    drop(dataset);
                    pending.put(at, result);
                });
            }
            self.running.push_back(pending);
        }
    }
}

impl<D: Dataset + 'static> Iterator for EpochIter<'_, D> {
    type Item = Result<Vec<D::Sample>, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let pending = self.running.front()?;
        drop(pending.wait());
        let pending = self.running.pop_front()?;
        // The finished batch leaves the queue before the next is begun: the bound holds.
        self.fill();
        let batch = pending.take();
        if batch.is_err() {
            self.stop.store(true, Ordering::Relaxed);
            self.waiting.clear();
            self.running.clear();
        }
        Some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.waiting.len() + self.running.len();
        (0, Some(left))
    }
}

impl<D: Dataset> Drop for EpochIter<'_, D> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for pending in &self.running {
            drop(pending.wait());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::{Duration, Instant};

    use super::*;

    /// Samples are (index, seed); made samples are counted; `fails` is an index that cannot be read.
    #[derive(Debug, Default)]
    struct Numbers {
        len: usize,
        made: AtomicUsize,
        fails: Option<usize>,
        panics: Option<usize>,
        slow: Duration,
    }

    impl Dataset for Numbers {
        type Sample = (usize, u64);

        fn len(&self) -> usize {
            self.len
        }

        fn sample(&self, index: usize, seed: u64) -> Result<Self::Sample, DataError> {
            std::thread::sleep(self.slow);
            assert_ne!(self.panics, Some(index), "this sample is broken");
            self.made.fetch_add(1, Ordering::SeqCst);
            if self.fails == Some(index) {
                return Err(DataError::decode("folder/broken.jpg", "test"));
            }
            Ok((index, seed))
        }
    }

    fn numbers(len: usize) -> Numbers {
        Numbers {
            len,
            ..Numbers::default()
        }
    }

    fn loader(dataset: Numbers, config: LoaderConfig) -> Loader<Numbers> {
        Loader::new(Arc::new(dataset), config).unwrap()
    }

    fn shuffled(threads: usize, prefetch: usize) -> LoaderConfig {
        LoaderConfig {
            batch_size: 7,
            shuffle: true,
            threads,
            prefetch,
            seed: 3,
            ..LoaderConfig::default()
        }
    }

    #[test]
    fn threads_and_prefetch_change_nothing() {
        let wanted: Vec<_> = loader(numbers(100), shuffled(1, 1))
            .epoch(2, 0)
            .map(Result::unwrap)
            .collect();
        assert_eq!(wanted.len(), 15);
        assert_eq!(wanted[14].len(), 2);
        let mut indices: Vec<usize> = wanted.iter().flatten().map(|s| s.0).collect();
        indices.sort_unstable();
        assert_eq!(indices, (0..100).collect::<Vec<_>>());
        for threads in [1, 2, 4] {
            for prefetch in [1, 2, 5, 50] {
                let got: Vec<_> = loader(numbers(100), shuffled(threads, prefetch))
                    .epoch(2, 0)
                    .map(Result::unwrap)
                    .collect();
                assert_eq!(got, wanted, "{threads} threads, prefetch {prefetch}");
            }
        }
        let other: Vec<_> = loader(numbers(100), shuffled(1, 1))
            .epoch(3, 0)
            .map(Result::unwrap)
            .collect();
        assert_ne!(other, wanted);
    }

    #[test]
    fn a_resumed_epoch_goes_on_where_it_was() {
        let loader = loader(numbers(100), shuffled(2, 2));
        let whole: Vec<_> = loader.epoch(1, 0).map(Result::unwrap).collect();
        let before = loader.dataset.made.load(Ordering::SeqCst);
        let rest: Vec<_> = loader.epoch(1, 10).map(Result::unwrap).collect();
        assert_eq!(rest, whole[10..]);
        assert_eq!(
            loader.dataset.made.load(Ordering::SeqCst) - before,
            30,
            "skipped batches are not read"
        );
        assert_eq!(loader.epoch(1, 99).count(), 0);
    }

    #[test]
    fn a_slow_consumer_stops_the_workers() {
        let loader = loader(numbers(1000), shuffled(4, 3));
        let mut epoch = loader.epoch(0, 0);
        epoch.next();
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(loader.dataset.made.load(Ordering::SeqCst), 7 * 4);
    }

    #[test]
    fn dropping_stops_quickly() {
        let slow = Numbers {
            slow: Duration::from_millis(20),
            ..numbers(1000)
        };
        let loader = loader(
            slow,
            LoaderConfig {
                batch_size: 500,
                threads: 2,
                ..LoaderConfig::default()
            },
        );
        let start = Instant::now();
        drop(loader.epoch(0, 0));
        assert!(
            start.elapsed() < Duration::from_secs(2),
            "{:?}",
            start.elapsed()
        );
        assert!(loader.dataset.made.load(Ordering::SeqCst) < 100);
    }

    #[test]
    fn one_bad_sample_is_an_error_that_names_it() {
        let broken = Numbers {
            fails: Some(30),
            ..numbers(100)
        };
        let config = LoaderConfig {
            batch_size: 8,
            threads: 2,
            ..LoaderConfig::default()
        };
        let loader = loader(broken, config);
        let results: Vec<_> = loader.epoch(0, 0).collect();
        assert_eq!(results.len(), 4);
        assert!(results[..3].iter().all(Result::is_ok));
        assert!(
            results[3]
                .as_ref()
                .unwrap_err()
                .to_string()
                .starts_with("folder/broken.jpg")
        );
    }

    #[test]
    fn a_panic_becomes_an_error() {
        let broken = Numbers {
            panics: Some(1),
            ..numbers(4)
        };
        let loader = loader(
            broken,
            LoaderConfig {
                batch_size: 4,
                threads: 2,
                ..LoaderConfig::default()
            },
        );
        let error = loader.epoch(0, 0).next().unwrap().unwrap_err();
        assert!(
            error.to_string().contains("this sample is broken"),
            "{error}"
        );
    }

    /// The order of samples is that of one process, whoever takes them: pieces go round.
    #[test]
    fn processes_share_an_epoch() {
        let config = |shard| LoaderConfig {
            batch_size: 6,
            drop_last: true,
            shard,
            ..shuffled(1, 1)
        };
        let read = |config, skip| -> Vec<Vec<usize>> {
            loader(numbers(100), config)
                .epoch(0, skip)
                .map(|piece| piece.unwrap().into_iter().map(|s| s.0).collect())
                .collect()
        };
        let alone = read(config(Shard::WHOLE), 0);
        assert_eq!(alone.len(), 16);
        for (ranks, pieces) in [(2, 1), (4, 1), (2, 2), (4, 2), (3, 3)] {
            for skip in [0, 4] {
                let parts: Vec<Vec<Vec<usize>>> = (0..ranks)
                    .map(|rank| {
                        let shard = Shard {
                            rank,
                            ranks,
                            pieces,
                        };
                        assert_eq!(loader(numbers(100), config(shard)).batches(), 16);
                        read(config(shard), skip)
                    })
                    .collect();
                let mut together = Vec::new();
                for number in 0..(16 - skip) * pieces {
                    together.extend_from_slice(&parts[number % ranks][number / ranks]);
                }
                assert_eq!(together, alone[skip..].concat(), "{ranks} {pieces} {skip}");
            }
        }
    }

    /// An evaluation's last batch may be small, and a process may have none in the last round.
    #[test]
    fn an_evaluation_leaves_no_sample_out() {
        let mut seen: Vec<usize> = (0..4)
            .flat_map(|rank| {
                let config = LoaderConfig {
                    batch_size: 6,
                    shard: Shard {
                        rank,
                        ranks: 4,
                        pieces: 1,
                    },
                    ..LoaderConfig::default()
                };
                let loader = loader(numbers(32), config);
                let pieces: Vec<_> = loader.epoch(0, 0).map(Result::unwrap).collect();
                pieces.concat()
            })
            .map(|sample| sample.0)
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..32).collect::<Vec<_>>());
    }

    #[test]
    fn impossible_settings_are_refused() {
        let make = |config| {
            Loader::new(Arc::new(numbers(5)), config)
                .map(|_| ())
                .unwrap_err()
                .to_string()
        };
        assert!(
            make(LoaderConfig {
                batch_size: 0,
                ..LoaderConfig::default()
            })
            .contains("batch_size")
        );
        assert!(
            make(LoaderConfig {
                batch_size: 6,
                drop_last: true,
                ..LoaderConfig::default()
            })
            .contains("full batch")
        );
        assert!(
            make(LoaderConfig {
                shard: Shard {
                    rank: 1,
                    ..Shard::WHOLE
                },
                ..LoaderConfig::default()
            })
            .contains("rank")
        );
        assert!(
            make(LoaderConfig {
                batch_size: 5,
                shard: Shard {
                    pieces: 2,
                    ..Shard::WHOLE
                },
                ..LoaderConfig::default()
            })
            .contains("pieces")
        );
        let misspelt: Result<LoaderConfig, _> = serde_json::from_str(r#"{"batchsize": 3}"#);
        assert!(misspelt.unwrap_err().to_string().contains("batchsize"));
    }
}

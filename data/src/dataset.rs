//! What the loader loads from, and how a sample's randomness is seeded.

use crate::error::DataError;

/// An indexed collection of samples, readable from several threads at once.
pub trait Dataset: Send + Sync {
    /// What one index gives: plain vectors, no tensors.
    type Sample: Send + 'static;

    /// Number of samples.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads sample `index`; everything random in it follows from `seed` alone.
    ///
    /// # Errors
    /// When the sample cannot be read; the message names its file.
    fn sample(&self, index: usize, seed: u64) -> Result<Self::Sample, DataError>;
}

/// One picture for classification or pre-training.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassificationSample {
    /// `[3, size, size]`, normalised.
    pub image: Vec<f32>,
    /// Side in pixels.
    pub size: usize,
    /// Class index, or -1 where it is not known.
    pub label: i64,
    /// Path relative to the data set's folder, for messages and prediction files.
    pub name: String,
}

/// The seed of one sample in one epoch, from the run's seed: independent of threads, batches and resuming.
pub fn sample_seed(run_seed: u64, epoch: u64, index: u64) -> u64 {
    mix(mix(mix(run_seed).wrapping_add(epoch)).wrapping_add(index))
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every input bit changes half the output bits.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// First outputs of SplitMix64 seeded with 0 (reference implementation by S. Vigna).
    #[test]
    fn mixing_is_splitmix() {
        assert_eq!(mix(0), 0xE220_A839_7B1D_CDAF);
        assert_eq!(mix(0x9E37_79B9_7F4A_7C15), 0x6E78_9E6A_A1B9_65F4);
    }

    #[test]
    fn neighbouring_samples_epochs_and_runs_get_different_seeds() {
        let mut seen = HashSet::new();
        for run in 0..10 {
            for epoch in 0..10 {
                for index in 0..100 {
                    assert!(seen.insert(sample_seed(run, epoch, index)));
                }
            }
        }
    }
}

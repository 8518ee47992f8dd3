//! Discrete tokens for pictures: the nearest of a vocabulary of patches, found by k-means.
//!
//! A plain stand-in for the trained tokenizer of BEiT (arXiv 2106.08254), for data sets that have none. Vectors are a
//! patch's pixels as the recipe's transform gives them. Source of the clustering: Lloyd (1982), started as k-means++
//! does (Arthur and Vassilvitskii, 2007); a word that no patch is nearest to moves to the patch that is worst off.

use std::path::Path;

use rand::seq::index::sample;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use safetensors::tensor::{Dtype, TensorView};

use crate::dataset::Dataset;
use crate::error::DataError;
use crate::loader::Loader;
use crate::{ClassificationDataset, LoadedSet};

/// Names of the pictures, in a folder of tokens.
pub const TOKEN_NAMES: &str = "names.txt";
/// The tokens themselves.
pub const TOKENS: &str = "tokens.safetensors";

/// How pictures become tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenConfig {
    /// Side of a patch in pixels.
    pub patch: usize,
    /// Words.
    pub vocabulary: usize,
    /// Patches that the words are learnt from, at most.
    pub patches: usize,
    /// Rounds of k-means.
    pub rounds: usize,
    /// Random seed.
    pub seed: u64,
}

/// Words, each a patch's numbers.
#[derive(Debug, Clone, PartialEq)]
struct PatchWords {
    width: usize,
    words: Vec<f32>,
}

/// How tokens turned out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tokenized {
    /// Pictures.
    pub pictures: usize,
    /// Patches of each.
    pub patches: usize,
    /// Words that are used at all.
    pub used: usize,
    /// Share of the patches' variance that the words explain.
    pub explained: f64,
}

impl PatchWords {
    /// Learns `vocabulary` words from patches of `width` numbers each, one after the other.
    ///
    /// # Panics
    /// Where there are fewer patches than words.
    fn learn(patches: &[f32], width: usize, config: &TokenConfig) -> Self {
        let count = patches.len() / width;
        assert!(
            count >= config.vocabulary,
            "{count} patches are fewer than the words"
        );
        let patch = |at: usize| &patches[at * width..(at + 1) * width];
        let mut words = Self {
            width,
            words: spread_patches(patches, width, config),
        };
        for _ in 0..config.rounds {
            let lengths = words.lengths();
            let nearest: Vec<(usize, f32)> = patches
                .par_chunks(width)
                .map(|patch| words.nearest(patch, &lengths))
                .collect();
            let mut sums = vec![0f64; words.words.len()];
            let mut counts = vec![0usize; config.vocabulary];
            for (at, (word, _)) in nearest.iter().enumerate() {
                counts[*word] += 1;
                let sum = &mut sums[word * width..(word + 1) * width];
                for (sum, value) in sum.iter_mut().zip(patch(at)) {
                    *sum += f64::from(*value);
                }
            }
            // Patches by how far their word is, the worst last.
            let mut worst: Vec<usize> = (0..count).collect();
            worst.sort_by(|a, b| nearest[*a].1.total_cmp(&nearest[*b].1));
            for (word, members) in counts.iter().enumerate() {
                let own = word * width..(word + 1) * width;
                if *members > 0 {
                    for at in own {
                        words.words[at] = (sums[at] / *members as f64) as f32;
                    }
                } else if let Some(at) = worst.pop() {
                    words.words[own].copy_from_slice(patch(at));
                }
            }
        }
        words
    }

    fn lengths(&self) -> Vec<f32> {
        let square = |word: &[f32]| word.iter().map(|value| value * value).sum();
        self.words.chunks(self.width).map(square).collect()
    }

    /// The nearest word, the first of equal ones, and its squared distance; `lengths` are of all words.
    fn nearest(&self, patch: &[f32], lengths: &[f32]) -> (usize, f32) {
        let own: f32 = patch.iter().map(|value| value * value).sum();
        let mut best = (0, f32::INFINITY);
        for (word, (numbers, length)) in self.words.chunks(self.width).zip(lengths).enumerate() {
            let product: f32 = numbers.iter().zip(patch).map(|(a, b)| a * b).sum();
            let distance = length - 2.0 * product;
            if distance < best.1 {
                best = (word, distance);
            }
        }
        (best.0, (best.1 + own).max(0.0))
    }
}

/// Writes tokens of every picture of `set` into `folder`, as a pre-training on tokens reads them. `progress` is told
/// pictures done, of twice their number.
///
/// # Errors
/// When a picture cannot be read, there are fewer patches than words, or a file cannot be written.
pub fn write_tokens(
    set: &LoadedSet,
    config: &TokenConfig,
    folder: &Path,
    progress: &mut dyn FnMut(usize),
) -> Result<Tokenized, DataError> {
    let pictures = set.dataset.len();
    // A share of every picture's patches, so that all of the set has its say.
    let mut learnt = Vec::new();
    let mut patches_each = 0;
    let mut done = 0;
    each_picture(&set.loader, |name, image, size| {
        let patches = patches_of(image, size, config.patch);
        let width = 3 * config.patch * config.patch;
        patches_each = patches.len() / width;
        // Whole numbers whose sum is `config.patches`, one picture's part after the other's.
        let share = |upto: usize| upto * config.patches / pictures;
        let kept = (share(done + 1) - share(done)).min(patches_each);
        let mut random = ChaCha8Rng::seed_from_u64(config.seed ^ hash(name));
        for at in sample(&mut random, patches_each, kept) {
            learnt.extend_from_slice(&patches[at * width..(at + 1) * width]);
        }
        done += 1;
        progress(done);
    })?;
    let width = 3 * config.patch * config.patch;
    if learnt.len() / width < config.vocabulary {
        return Err(DataError::config(
            "model.target.vocabulary",
            format!(
                "{} words cannot be learnt from {} patches: make it smaller",
                config.vocabulary,
                learnt.len() / width
            ),
        ));
    }
    let words = PatchWords::learn(&learnt, width, config);
    drop(learnt);
    let lengths = words.lengths();
    let mut names = String::new();
    let mut tokens: Vec<i32> = Vec::with_capacity(pictures * patches_each);
    let (mut left, mut sum, mut squares, mut numbers) = (0f64, vec![0f64; width], 0f64, 0f64);
    each_picture(&set.loader, |name, image, size| {
        let patches = patches_of(image, size, config.patch);
        let nearest: Vec<(usize, f32)> = patches
            .par_chunks(width)
            .map(|patch| words.nearest(patch, &lengths))
            .collect();
        for (patch, (word, distance)) in patches.chunks(width).zip(&nearest) {
            tokens.push(i32::try_from(*word).unwrap_or(i32::MAX));
            left += f64::from(*distance);
            for (sum, value) in sum.iter_mut().zip(patch) {
                *sum += f64::from(*value);
                squares += f64::from(*value).powi(2);
            }
            numbers += 1.0;
        }
        names += name;
        names.push('\n');
        done += 1;
        progress(done);
    })?;
    let mut used = tokens.clone();
    used.sort_unstable();
    used.dedup();
    let around_mean = squares - sum.iter().map(|sum| sum * sum / numbers).sum::<f64>();
    write(folder, &names, &tokens, [pictures, patches_each])?;
    Ok(Tokenized {
        pictures,
        patches: patches_each,
        used: used.len(),
        explained: 1.0 - left / around_mean,
    })
}

/// The words to start from: patches drawn with a chance that grows as the square of the distance to those already
/// drawn.
fn spread_patches(patches: &[f32], width: usize, config: &TokenConfig) -> Vec<f32> {
    let count = patches.len() / width;
    let mut random = ChaCha8Rng::seed_from_u64(config.seed);
    let mut words: Vec<f32> = Vec::with_capacity(config.vocabulary * width);
    let mut far = vec![f32::INFINITY; count];
    let mut next = random.random_range(0..count);
    for _ in 0..config.vocabulary {
        let word = &patches[next * width..(next + 1) * width];
        words.extend_from_slice(word);
        far.par_iter_mut()
            .zip(patches.par_chunks(width))
            .for_each(|(far, patch)| {
                let squares = word.iter().zip(patch).map(|(a, b)| (a - b) * (a - b));
                *far = far.min(squares.sum());
            });
        let all: f64 = far.iter().copied().map(f64::from).sum();
        let mut drawn = random.random::<f64>() * all;
        next = far
            .iter()
            .position(|far| {
                drawn -= f64::from(*far);
                drawn < 0.0
            })
            .unwrap_or_else(|| random.random_range(0..count));
    }
    words
}

fn each_picture(
    loader: &Loader<ClassificationDataset>,
    mut each: impl FnMut(&str, &[f32], usize),
) -> Result<(), DataError> {
    for batch in loader.epoch(0, 0) {
        for picture in batch? {
            each(&picture.name, &picture.image, picture.size);
        }
    }
    Ok(())
}

/// Patches row by row, each channel by channel: from `[3, S, S]`.
fn patches_of(image: &[f32], size: usize, patch: usize) -> Vec<f32> {
    let grid = size / patch;
    let mut out = Vec::with_capacity(image.len());
    for (row, column) in (0..grid).flat_map(|row| (0..grid).map(move |column| (row, column))) {
        for (channel, y) in (0..3).flat_map(|channel| (0..patch).map(move |y| (channel, y))) {
            let start = (channel * size + row * patch + y) * size + column * patch;
            out.extend_from_slice(&image[start..start + patch]);
        }
    }
    out
}

/// FNV-1a: the same on every machine.
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn write(folder: &Path, names: &str, tokens: &[i32], shape: [usize; 2]) -> Result<(), DataError> {
    let failed = DataError::write;
    std::fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    let path = folder.join(TOKENS);
    let bytes: Vec<u8> = tokens
        .iter()
        .flat_map(|token| token.to_le_bytes())
        .collect();
    let view = TensorView::new(Dtype::I32, shape.to_vec(), &bytes)
        .map_err(|error| failed(&path, std::io::Error::other(error)))?;
    let file = safetensors::serialize([("tokens", view)], None)
        .map_err(|error| failed(&path, std::io::Error::other(error)))?;
    std::fs::write(&path, file).map_err(|error| failed(&path, error))?;
    let path = folder.join(TOKEN_NAMES);
    std::fs::write(&path, names).map_err(|error| failed(&path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three heaps of points, one of them single: each becomes a word, whatever words start from.
    #[test]
    fn every_heap_becomes_a_word() {
        let mut patches = Vec::new();
        for n in 0..40 {
            let side = if n % 2 == 0 { 10.0 } else { -10.0 };
            patches.extend([side + 0.01 * n as f32, side]);
        }
        patches.extend([500.0, 0.0]);
        for seed in 0..10 {
            let config = TokenConfig {
                patch: 0,
                vocabulary: 3,
                patches: 0,
                rounds: 12,
                seed,
            };
            let words = PatchWords::learn(&patches, 2, &config);
            let lengths = words.lengths();
            let of = |patch: [f32; 2]| words.nearest(&patch, &lengths);
            let found = [of([10.0, 10.0]).0, of([-10.0, -10.0]).0, of([500.0, 0.0]).0];
            let mut told_apart = found.to_vec();
            told_apart.sort_unstable();
            assert_eq!(told_apart, [0, 1, 2], "seed {seed}");
            assert!(of([500.0, 0.0]).1 < 1e-3);
        }
    }

    #[test]
    fn patches_run_row_by_row_channel_by_channel() {
        // Value: 100 c + 10 y + x, 4 x 4 pixels.
        let image: Vec<f32> = (0..48)
            .map(|at| (100 * (at / 16) + 10 * (at / 4 % 4) + at % 4) as f32)
            .collect();
        let patches = patches_of(&image, 4, 2);
        let second: &[f32] = &patches[12..24];
        let wanted = [
            2., 3., 12., 13., 102., 103., 112., 113., 202., 203., 212., 213.,
        ];
        assert_eq!(second, wanted);
    }
}

//! Drawing a balanced sample of labelled boxes. Source: detectron2 `modeling/sampling.py`,
//! `subsample_labels`.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// The label of boxes that are neither drawn nor counted.
pub const IGNORED: i64 = -1;

/// In which order candidates are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The first ones, as the reference draws where `torch.randperm` counts.
    InOrder,
    /// Uniformly, from a seed.
    Seeded(u64),
}

/// Draws at most `count` positions: positives first, up to `positive_fraction` of `count` (rounded
/// down), then negatives. Returns `(positives, negatives)`.
///
/// A label is [`IGNORED`], `background` (negative) or anything else (positive).
pub fn subsample(
    labels: &[i64],
    count: usize,
    positive_fraction: f64,
    background: i64,
    order: &Order,
) -> (Vec<usize>, Vec<usize>) {
    let mut positives = Vec::new();
    let mut negatives = Vec::new();
    for (position, &label) in labels.iter().enumerate() {
        if label == background {
            negatives.push(position);
        } else if label != IGNORED {
            positives.push(position);
        }
    }
    let wanted = ((count as f64 * positive_fraction) as usize).min(count);
    match order {
        Order::InOrder => {
            positives.truncate(wanted);
            negatives.truncate(count - positives.len());
        }
        Order::Seeded(seed) => {
            let mut random = ChaCha8Rng::seed_from_u64(*seed);
            positives = draw(&positives, wanted, &mut random);
            negatives = draw(&negatives, count - positives.len(), &mut random);
        }
    }
    (positives, negatives)
}

/// At most `count` of the candidates, in random order.
fn draw(candidates: &[usize], count: usize, random: &mut ChaCha8Rng) -> Vec<usize> {
    let count = count.min(candidates.len());
    rand::seq::index::sample(random, candidates.len(), count)
        .into_iter()
        .map(|position| candidates[position])
        .collect()
}

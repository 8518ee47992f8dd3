//! The inner loop: how many pixels have which pair of numbers.
//!
//! Label maps are made of long runs of equal pairs, so a pixel costs a comparison with the one before
//! it, many at a time, and only the ends of runs touch a table. Ends become bits, bits become a list
//! of positions without a branch per run, and the list is walked last: a loop that asked "does the
//! run go on?" would be mispredicted at every end.

use multiversion::multiversion;
use wide::{u8x16, u16x8};

/// A table of pixel counts by pair of numbers.
pub(super) trait PairTable<T> {
    /// Counts `pixels` pixels with this label and this prediction.
    fn add(&mut self, label: T, prediction: T, pixels: u32);
}

/// A number as maps store it.
pub(super) trait Number: Copy + PartialEq {
    /// Which pixels of a block hold another number than the one before them; a bit each, lowest first.
    fn differs(now: &[Self; BLOCK], before: &[Self; BLOCK]) -> u64;
}

impl Number for u8 {
    #[inline(always)]
    fn differs(now: &[Self; BLOCK], before: &[Self; BLOCK]) -> u64 {
        let (now, before) = (now.as_chunks().0, before.as_chunks().0);
        let equal = |i: usize| {
            u8x16::new(now[i])
                .simd_eq(u8x16::new(before[i]))
                .to_bitmask()
        };
        !(0..BLOCK / 16).fold(0, |bits, i| bits | u64::from(equal(i)) << (16 * i))
    }
}

impl Number for u16 {
    #[inline(always)]
    fn differs(now: &[Self; BLOCK], before: &[Self; BLOCK]) -> u64 {
        let (now, before) = (now.as_chunks().0, before.as_chunks().0);
        let equal = |i: usize| {
            u16x8::new(now[i])
                .simd_eq(u16x8::new(before[i]))
                .to_bitmask()
        };
        !(0..BLOCK / 8).fold(0, |bits, i| bits | u64::from(equal(i)) << (8 * i))
    }
}

/// Pixels of a block: the bits of a word.
const BLOCK: usize = 64;
/// Blocks looked at together; their list of ends stays in the first-level cache.
const CHUNK: usize = 16;
/// Where more than one pixel in so many ends a run, counting pixel by pixel is faster.
const SHORT_RUN: usize = 3;

/// Adds all pixels of two maps of equal length to a table.
#[multiversion(targets("x86_64+avx+avx2+bmi1+bmi2+lzcnt+popcnt", "x86_64+sse4.2+popcnt"))]
pub(super) fn count_pairs<T: Number, P: PairTable<T>>(
    labels: &[T],
    predictions: &[T],
    table: &mut P,
) {
    let pixels = labels.len().min(predictions.len());
    let (labels, predictions) = (&labels[..pixels], &predictions[..pixels]);
    let mut bits = [0u64; CHUNK];
    let mut ends = [0u32; CHUNK * BLOCK + BLOCK];
    // The first pixel not yet counted, and the pair of the run it starts.
    let mut start = 0;
    // The first pixel not yet compared with the one before it.
    let mut next = 1;
    while next + BLOCK <= pixels {
        let blocks = ((pixels - next) / BLOCK).min(CHUNK);
        let stop = next + blocks * BLOCK;
        mark_ends(
            &labels[next - 1..stop],
            &predictions[next - 1..stop],
            &mut bits[..blocks],
        );
        let count: usize = bits[..blocks]
            .iter()
            .map(|word| word.count_ones() as usize)
            .sum();
        if count * SHORT_RUN > blocks * BLOCK {
            table.add(labels[start], predictions[start], (next - 1 - start) as u32);
            add_each(
                &labels[next - 1..stop - 1],
                &predictions[next - 1..stop - 1],
                table,
            );
            start = stop - 1;
        } else {
            list_ends(&bits[..blocks], next as u32, &mut ends);
            for &end in &ends[..count] {
                let end = end as usize;
                table.add(labels[start], predictions[start], (end - start) as u32);
                start = end;
            }
        }
        next = stop;
    }
    if let (Some(&label), Some(&prediction)) = (labels.get(start), predictions.get(start)) {
        table.add(label, prediction, (next - start) as u32);
    }
    add_each(
        labels.get(next..).unwrap_or_default(),
        predictions.get(next..).unwrap_or_default(),
        table,
    );
}

#[inline(always)]
fn add_each<T: Number>(labels: &[T], predictions: &[T], table: &mut impl PairTable<T>) {
    for (&label, &prediction) in labels.iter().zip(predictions) {
        table.add(label, prediction, 1);
    }
}

/// Positions of the set bits, the first bit being pixel `first`. What lies behind the last of them
/// in `ends` is meaningless: writing a few too many is cheaper than stopping in time.
#[inline(always)]
fn list_ends(bits: &[u64], first: u32, ends: &mut [u32; CHUNK * BLOCK + BLOCK]) {
    let mut filled = 0;
    for (block, &word) in bits.iter().enumerate() {
        let base = first + (block * BLOCK) as u32;
        let Some(places) = ends[filled..].first_chunk_mut::<BLOCK>() else {
            return;
        };
        let count = word.count_ones() as usize;
        let mut rest = word;
        let mut list = |places: &mut [u32]| {
            for place in places {
                *place = base + rest.trailing_zeros();
                rest &= rest.wrapping_sub(1);
            }
        };
        list(&mut places[..4]);
        if count > 4 {
            list(&mut places[4..12]);
            if count > 12 {
                list(&mut places[12..count]);
            }
        }
        filled += count;
    }
}

/// Marks, for whole blocks of a map from its second pixel on, where the pair differs from the pixel
/// before.
#[inline(always)]
fn mark_ends<T: Number>(labels: &[T], predictions: &[T], bits: &mut [u64]) {
    for (block, word) in bits.iter_mut().enumerate() {
        let differs = |map: &[T]| {
            let at = block * BLOCK;
            let before = map.get(at..).and_then(<[T]>::first_chunk);
            let now = map.get(at + 1..).and_then(<[T]>::first_chunk);
            // Slices are cut to size by the caller.
            before
                .zip(now)
                .map_or(0, |(before, now)| T::differs(now, before))
        };
        *word = differs(labels) | differs(predictions);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Default, PartialEq, Debug)]
    struct Counts(BTreeMap<(u32, u32), u64>);

    impl<T: Into<u32>> PairTable<T> for Counts {
        fn add(&mut self, label: T, prediction: T, pixels: u32) {
            if pixels > 0 {
                *self.0.entry((label.into(), prediction.into())).or_default() += u64::from(pixels);
            }
        }
    }

    fn one_by_one<T: Copy + Into<u32>>(labels: &[T], predictions: &[T]) -> Counts {
        let mut counts = Counts::default();
        for (&label, &prediction) in labels.iter().zip(predictions) {
            counts.add(label, prediction, 1);
        }
        counts
    }

    /// Runs of random lengths from one pixel to several blocks.
    fn map(longest: usize) -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec((any::<u8>(), 1..=longest), 0..60).prop_map(|runs| {
            runs.into_iter()
                .flat_map(|(label, length)| std::iter::repeat_n(label, length))
                .collect()
        })
    }

    proptest! {
        #[test]
        fn runs_are_counted_as_single_pixels_are(
            (labels, predictions) in prop_oneof![
                (map(1), map(1)), (map(3), map(90)), (map(300), map(300)), (map(9), map(9))
            ]
        ) {
            let pixels = labels.len().min(predictions.len());
            let (labels, predictions) = (&labels[..pixels], &predictions[..pixels]);
            let expected = one_by_one(labels, predictions);
            let mut counts = Counts::default();
            count_pairs(labels, predictions, &mut counts);
            prop_assert_eq!(&counts, &expected);

            let wide = |map: &[u8]| map.iter().map(|&n| u16::from(n)).collect::<Vec<u16>>();
            let mut counts = Counts::default();
            count_pairs(&wide(labels), &wide(predictions), &mut counts);
            prop_assert_eq!(&counts, &expected);
        }

        /// Noise in the middle of a calm map: both ways of counting take turns.
        #[test]
        fn noise_between_long_runs(noise in prop::collection::vec(any::<u8>(), 0..5000), shift in 0usize..200) {
            let mut labels = vec![7u8; 3000 + shift];
            labels.extend(&noise);
            labels.extend(vec![9u8; 5000]);
            let predictions: Vec<u8> = labels.iter().rev().copied().collect();
            let mut counts = Counts::default();
            count_pairs(&labels, &predictions, &mut counts);
            prop_assert_eq!(counts, one_by_one(&labels, &predictions));
        }
    }

    #[test]
    fn a_block_s_ends_are_bits_in_pixel_order() {
        let mut now = [0u16; BLOCK];
        now[0] = 1;
        now[17] = 255;
        now[63] = 256;
        let expected = 1 | 1 << 17 | 1 << 63;
        assert_eq!(u16::differs(&now, &[0; BLOCK]), expected);
        let now = now.map(|n| n.min(255) as u8);
        assert_eq!(u8::differs(&now, &[0; BLOCK]), expected);
    }
}

//! Which images a resample holds.

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How often each of `weights.len()` images is drawn in resample `index`: non-negative numbers
/// whose sum is the number of images.
///
/// They depend on the seed, the index and the number of images alone, so neither threads nor other
/// resamples change them. Every image is equally likely in every draw: 32 random bits are scaled
/// to the number of images, and the few values that would favour some are drawn again (Lemire,
/// ACM Transactions on Modeling and Computer Simulation 29, 2019, algorithm 5).
///
/// # Panics
/// When there are more than `u32::MAX` images.
pub fn draw(seed: u64, index: u64, weights: &mut [u32]) {
    assert!(
        u32::try_from(weights.len()).is_ok(),
        "images are counted in 32 bits"
    );
    weights.fill(0);
    let images = weights.len() as u64;
    if images == 0 {
        return;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(index);
    // 2^32 modulo the number of images.
    let excess = (1_u64 << 32) % images;
    for _ in 0..images {
        let image = loop {
            let scaled = u64::from(rng.next_u32()) * images;
            if scaled & 0xffff_ffff >= excess {
                break scaled >> 32;
            }
        };
        weights[image as usize] += 1;
    }
}

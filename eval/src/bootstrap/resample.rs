//! The loop over resamples.

use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use super::config::{BootstrapConfig, BootstrapSize};
use super::draw::draw;
use super::result::Bootstrap;
use crate::error::EvalError;

/// Scores every system on the images as they are and on every resample of them.
///
/// `score(system, weights, scores)` gets how often each image counts and fills in one number per
/// metric, NaN where the metric is undefined; weights that are all 1 are the images as they are.
/// It is called on the threads of the surrounding rayon pool, in any order, and its results do not
/// depend on how many there are. `progress(done, all)` counts resamples.
///
/// # Errors
/// When the configuration or the sizes are unusable.
pub fn bootstrap<F>(
    size: BootstrapSize,
    config: &BootstrapConfig,
    score: F,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Bootstrap, EvalError>
where
    F: Fn(usize, &[u32], &mut [f64]) + Sync,
{
    config.check(&size)?;
    let scores_of = |weights: &[u32]| {
        let mut scores = vec![f64::NAN; size.systems * size.metrics];
        for (system, scores) in scores.chunks_exact_mut(size.metrics).enumerate() {
            score(system, weights, scores);
        }
        scores
    };
    let point = scores_of(&vec![1; size.images]);
    let all = config.resamples as u64;
    let done = AtomicU64::new(0);
    let resampled: Vec<Vec<f64>> = (0..all)
        .into_par_iter()
        .map_init(
            || vec![0; size.images],
            |weights, index| {
                draw(config.seed, index, weights);
                let scores = scores_of(weights);
                progress(done.fetch_add(1, Ordering::Relaxed) + 1, all);
                scores
            },
        )
        .collect();
    Ok(Bootstrap::new(size, config.confidence, point, &resampled))
}

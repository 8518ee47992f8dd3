//! Several folders of predictions on the same images: scores with intervals, and differences.

use std::collections::HashMap;

use super::evaluate::SegmentationResult;
use crate::bootstrap::{
    Bootstrap, BootstrapConfig, BootstrapSize, ClassOverlap, ImageOverlaps, IntervalMethod,
    bootstrap,
};
use crate::error::EvalError;

/// The scores that [`bootstrap_segmentation`] resamples, in its order of metrics; 0..=1.
pub const SEGMENTATION_METRICS: [&str; 3] = ["mIoU", "mAcc", "aAcc"];

/// Resamples the images that all results have scored (under a lenient reading some may lack in some).
///
/// # Errors
/// When the results have no image in common, or the configuration is unusable.
pub fn bootstrap_segmentation(
    results: &[SegmentationResult],
    config: &BootstrapConfig,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Bootstrap, EvalError> {
    let mut systems_with: HashMap<&str, usize> = HashMap::new();
    for image in results.iter().flat_map(|result| &result.images) {
        *systems_with.entry(&image.name).or_default() += 1;
    }
    let mut systems = Vec::with_capacity(results.len());
    for result in results {
        let mut overlaps = ImageOverlaps::new(result.meter.num_classes());
        let scored_by_all = |name: &str| {
            systems_with
                .get(name)
                .is_some_and(|&count| count == results.len())
        };
        for image in result
            .images
            .iter()
            .filter(|image| scored_by_all(&image.name))
        {
            overlaps.add(
                image
                    .tally
                    .classes()
                    .iter()
                    .map(|(class, areas)| ClassOverlap {
                        class: u32::from(*class),
                        intersection: areas.intersection,
                        predicted: areas.predicted,
                        labelled: areas.labelled,
                    }),
            )?;
        }
        systems.push(overlaps);
    }
    let size = BootstrapSize {
        images: systems.first().map_or(0, ImageOverlaps::len),
        systems: systems.len(),
        metrics: SEGMENTATION_METRICS.len(),
    };
    let score = |system: usize, weights: &[u32], scores: &mut [f64]| {
        let found = systems[system].scores(weights);
        scores.copy_from_slice(&[found.mean_iou, found.mean_accuracy, found.pixel_accuracy]);
    };
    // A resample lacks rare classes, which moves the mean over the others.
    Ok(bootstrap(size, config, score, progress)?.with_score_method(IntervalMethod::Basic))
}

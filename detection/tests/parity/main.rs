//! Parity of whole detectors with detectron2's ViTDet Mask R-CNN and Cascade Mask R-CNN, recorded in
//! float32: `vitdet_synthetic` on drawn pictures, always, and `vitdet` and `cascade_vitdet` on photographs,
//! from the folder that `DEEPMIM_GOLDEN` names. Tolerances are about ten times the difference between
//! float32 and float64 that their READMEs record, relative to the largest value.

#![allow(
    clippy::unwrap_used,
    reason = "a test ends where a fixture is not as described"
)]

mod fixture;
mod inference;
mod training;

/// Maps, logits and deltas before ROIAlign.
const MAP_TOLERANCE: f64 = 1.5e-5;
/// Boxes, and everything behind pooling that carries their rounding.
const REGION_TOLERANCE: f64 = 1e-4;
/// Masks of the cascade: three times refined boxes.
const MASK_TOLERANCE: f64 = 7e-4;
/// The five losses.
const LOSS_TOLERANCE: f64 = 2e-6;
/// Gradients: a few activations behind ROIAlign flip between precisions.
const GRADIENT_TOLERANCE: f64 = 1e-2;
/// Boxes of rows that are compared as sets, in pixels.
const ROW_TOLERANCE: f64 = 2e-3;
/// Agreement of pasted masks.
const MASK_IOU: f64 = 0.999;

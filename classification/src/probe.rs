//! Head of linear probing: batch normalisation without gain and bias, then one linear layer.
//!
//! Source: MAE `main_linprobe.py` (after MoCo v3): `BatchNorm1d(affine=False, eps=1e-6)` makes the
//! probe's learning rate independent of the features' scale. `[B, C]` in, `[B, K]` out. Names as
//! there: `head.0.running_mean`, `head.0.running_var`, `head.1.weight`, `head.1.bias`; PyTorch's
//! batch counter `num_batches_tracked` is not kept, since nothing reads it at a fixed momentum.

use tch::Tensor;
use tch::nn::{self, Module};

/// The reference's epsilon.
const EPS: f64 = 1e-6;
/// PyTorch's default weight of the newest batch in the running statistics.
const MOMENTUM: f64 = 0.1;

/// Normalisation and linear layer of a probe.
#[derive(Debug)]
pub(crate) struct ProbeHead {
    running_mean: Tensor,
    running_var: Tensor,
    linear: nn::Linear,
}

impl ProbeHead {
    /// A head on features of `width` under `path` (which is `head`).
    pub(crate) fn new(path: &nn::Path, width: i64, classes: i64, init_std: f64) -> Self {
        let statistics = path / 0;
        Self {
            running_mean: statistics.zeros_no_train("running_mean", &[width]),
            running_var: statistics.ones_no_train("running_var", &[width]),
            linear: crate::model::linear_head(&(path / 1), width, classes, init_std),
        }
    }

    /// `[B, C]` to `[B, K]`; in training with the batch's own statistics, which also move the
    /// running ones. Training needs two pictures at least.
    pub(crate) fn forward(&self, features: &Tensor, train: bool) -> Tensor {
        let normalised = features.batch_norm::<&Tensor>(
            None,
            None,
            Some(&self.running_mean),
            Some(&self.running_var),
            train,
            MOMENTUM,
            EPS,
            true,
        );
        self.linear.forward(&normalised)
    }
}

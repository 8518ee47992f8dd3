//! Maps of strides 4 to 32 out of four taps of stride 16, for heads that take a pyramid.
//!
//! Source: DeepMIM `Segmentation/backbone/mae.py` (`fpn1` to `fpn4`, after BEiT); mmsegmentation
//! `models/necks/featurepyramid.py`. Parity: `upernet`, features.

use tch::{Tensor, nn};

use crate::batch_norm::{BatchNorm, SumOverProcesses};
use crate::pyramid::Doubling;

/// What four taps of a trunk with patches of 16 pixels go through, none of them normalised: two
/// doublings with BatchNorm and GELU between, one doubling, nothing, a halving.
#[derive(Debug)]
pub struct RescalingNecks {
    first: Doubling,
    norm: BatchNorm,
    second: Doubling,
    double: Doubling,
}

impl RescalingNecks {
    /// Adds `fpn1` and `fpn2` under `path`, for taps of `width` channels.
    pub fn new(path: &nn::Path, width: i64) -> Self {
        let fpn1 = path / "fpn1";
        Self {
            first: Doubling::new(&(&fpn1 / 0), width, width),
            norm: BatchNorm::new(&(&fpn1 / 1), width),
            second: Doubling::new(&(&fpn1 / 3), width, width),
            double: Doubling::new(&(path / "fpn2" / 0), width, width),
        }
    }

    /// From now on training takes statistics over the batches of all processes.
    pub fn synchronise(&mut self, sum: &SumOverProcesses) {
        self.norm.synchronise(sum);
    }

    /// Four maps `[B, C, h, w]`, the shallowest tap's first, to maps of 4, 2, 1 and a half times their
    /// sides.
    pub fn forward(&self, taps: &[Tensor; 4], train: bool) -> [Tensor; 4] {
        let [finest, fine, same, coarse] = taps;
        let grown = self.norm.forward(&self.first.forward(finest), train);
        [
            self.second.forward(&grown.gelu("none")),
            self.double.forward(fine),
            same.shallow_clone(),
            coarse.max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false),
        ]
    }
}

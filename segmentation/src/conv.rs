//! The unit that heads are built of: convolution, batch normalisation, ReLU.
//!
//! Source: mmcv `cnn/bricks/conv_module.py`, with mmsegmentation's settings.

use backbone::{BatchNorm, SumOverProcesses, convolve_map};
use tch::{Tensor, nn, nn::Init};

/// A convolution of stride 1 that keeps the size, without bias, then BatchNorm and ReLU: parameters
/// `conv.weight [outputs, inputs, k, k]` (He normal for the outgoing connections) and `bn.*`.
#[derive(Debug)]
pub(crate) struct ConvNormRelu {
    pub(crate) weight: Tensor,
    norm: BatchNorm,
}

impl ConvNormRelu {
    /// Adds the parameters under `path`; `kernel` is odd.
    pub(crate) fn new(path: &nn::Path, inputs: i64, outputs: i64, kernel: i64) -> Self {
        let stdev = (2.0 / (outputs * kernel * kernel) as f64).sqrt();
        let init = Init::Randn { mean: 0.0, stdev };
        Self {
            weight: (path / "conv").var("weight", &[outputs, inputs, kernel, kernel], init),
            norm: BatchNorm::new(&(path / "bn"), outputs),
        }
    }

    /// From now on training takes statistics over the batches of all processes.
    pub(crate) fn synchronise(&mut self, sum: &SumOverProcesses) {
        self.norm.synchronise(sum);
    }

    /// `[B, inputs, H, W] -> [B, outputs, H, W]`.
    pub(crate) fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        self.finish(&convolve_map(x, &self.weight, None), train)
    }

    /// What comes after the convolution.
    pub(crate) fn finish(&self, convolved: &Tensor, train: bool) -> Tensor {
        self.norm.forward(convolved, train).relu_()
    }
}

/// The last layer of a head: channels are dropped at random in training, then a 1×1 convolution gives one
/// map per class: parameters `weight` (normal, 0.01) and `bias` (zeros).
#[derive(Debug)]
pub(crate) struct Classifier {
    weight: Tensor,
    bias: Tensor,
    dropout: f64,
}

impl Classifier {
    /// Adds the parameters under `path`.
    pub(crate) fn new(path: &nn::Path, channels: i64, classes: i64, dropout: f64) -> Self {
        let init = Init::Randn {
            mean: 0.0,
            stdev: 0.01,
        };
        Self {
            weight: path.var("weight", &[classes, channels, 1, 1], init),
            bias: path.var("bias", &[classes], Init::Const(0.0)),
            dropout,
        }
    }

    /// `[B, channels, H, W] -> [B, classes, H, W]`.
    pub(crate) fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        // Whole channels are dropped, as PyTorch's Dropout2d does.
        let kept = x.feature_dropout(self.dropout, train);
        convolve_map(&kept, &self.weight, Some(&self.bias))
    }
}

/// Bilinear resizing to `(height, width)`, corners not aligned.
pub(crate) fn resize(x: &Tensor, size: (i64, i64)) -> Tensor {
    let now = x.size();
    if (now[2], now[3]) == size {
        return x.shallow_clone();
    }
    x.upsample_bilinear2d([size.0, size.1], false, None, None)
}

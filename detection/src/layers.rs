//! Layers of the heads with the reference's initial values.

use backbone::convolve_map;
use tch::{Tensor, nn, nn::Init};

/// Zero-mean normal weights.
pub(crate) fn normal(stdev: f64) -> Init {
    Init::Randn { mean: 0.0, stdev }
}

/// He's normal initialisation over outgoing connections (`c2_msra_fill`): `fan_out` is the number of
/// weights that read one input channel.
pub(crate) fn msra(fan_out: i64) -> Init {
    normal((2.0 / fan_out as f64).sqrt())
}

/// Uniform initialisation over incoming connections (`c2_xavier_fill`).
pub(crate) fn caffe_xavier(fan_in: i64) -> Init {
    let bound = (3.0 / fan_in as f64).sqrt();
    Init::Uniform {
        lo: -bound,
        up: bound,
    }
}

/// A convolution with bias (zeros), stride 1, and as much padding as keeps the size.
#[derive(Debug)]
pub(crate) struct Conv {
    weight: Tensor,
    bias: Tensor,
}

impl Conv {
    pub(crate) fn new(path: &nn::Path, inputs: i64, outputs: i64, kernel: i64, init: Init) -> Self {
        Self {
            weight: path.var("weight", &[outputs, inputs, kernel, kernel], init),
            bias: path.var("bias", &[outputs], Init::Const(0.0)),
        }
    }

    /// `[B, inputs, H, W] -> [B, outputs, H, W]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        convolve_map(x, &self.weight, Some(&self.bias))
    }
}

/// A fully connected layer with bias (zeros).
#[derive(Debug)]
pub(crate) struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    pub(crate) fn new(path: &nn::Path, inputs: i64, outputs: i64, init: Init) -> Self {
        Self {
            weight: path.var("weight", &[outputs, inputs], init),
            bias: path.var("bias", &[outputs], Init::Const(0.0)),
        }
    }

    /// `[.., inputs] -> [.., outputs]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, Some(&self.bias))
    }
}

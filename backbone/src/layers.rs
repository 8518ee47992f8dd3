//! The layers a block is made of, initialised as facebookresearch/mae `initialize_weights` does.
//!
//! Each can be cloned shallowly (same storage), which is what lets a checkpointed block carry its
//! parameters into the backward pass.

use native::{LinearParameters, NormParameters};
use tch::{Tensor, nn, nn::Init};

/// Bound of Glorot's uniform initialisation: `sqrt(6 / (inputs + outputs))`.
pub(crate) fn xavier_uniform(inputs: i64, outputs: i64) -> Init {
    let bound = (6.0 / (inputs + outputs) as f64).sqrt();
    Init::Uniform {
        lo: -bound,
        up: bound,
    }
}

/// A fully connected layer, `[.., inputs] -> [.., outputs]`: parameters `weight [outputs, inputs]`
/// (xavier uniform) and, where asked for, `bias [outputs]` (zeros).
#[derive(Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// Adds the parameters under `path`.
    pub fn new(path: &nn::Path, inputs: i64, outputs: i64, bias: bool) -> Self {
        Self {
            weight: path.var(
                "weight",
                &[outputs, inputs],
                xavier_uniform(inputs, outputs),
            ),
            bias: bias.then(|| path.var("bias", &[outputs], Init::Const(0.0))),
        }
    }

    /// Applies the layer to the last dimension.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, self.bias.as_ref())
    }

    /// Applies the layer to normalised rows `[N, inputs]`, keeping no normalised rows for the backward
    /// pass.
    pub(crate) fn after_norm(&self, norm: &LayerNorm, rows: &Tensor) -> Tensor {
        let norm = NormParameters {
            weight: &norm.weight,
            bias: &norm.bias,
            eps: norm.eps,
        };
        native::linear_after_norm(rows, norm, self.parameters())
    }

    /// Applies the layer to GELU of rows `[N, inputs]`, keeping only the rows for the backward pass.
    pub(crate) fn after_gelu(&self, rows: &Tensor) -> Tensor {
        native::linear_after_gelu(rows, self.parameters())
    }

    fn parameters(&self) -> LinearParameters<'_> {
        LinearParameters {
            weight: &self.weight,
            bias: self.bias.as_ref(),
        }
    }

    /// The bias, where there is one.
    pub(crate) fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    pub(crate) fn shallow_clone(&self) -> Self {
        Self {
            weight: self.weight.shallow_clone(),
            bias: self.bias.as_ref().map(Tensor::shallow_clone),
        }
    }
}

/// LayerNorm over the last dimension: parameters `weight` (ones) and `bias` (zeros).
#[derive(Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl LayerNorm {
    /// Adds the parameters under `path`.
    pub fn new(path: &nn::Path, width: i64, eps: f64) -> Self {
        Self {
            weight: path.var("weight", &[width], Init::Const(1.0)),
            bias: path.var("bias", &[width], Init::Const(0.0)),
            eps,
        }
    }

    /// Normalises the last dimension, in the type of its parameters: under autocast, too.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.to_kind(self.weight.kind()).layer_norm(
            self.weight.size(),
            Some(&self.weight),
            Some(&self.bias),
            self.eps,
            true,
        )
    }

    pub(crate) fn shallow_clone(&self) -> Self {
        Self {
            weight: self.weight.shallow_clone(),
            bias: self.bias.shallow_clone(),
            eps: self.eps,
        }
    }
}

/// A learnable factor per channel on a residual branch (CaiT, arXiv 2103.17239): parameter `gamma`.
#[derive(Debug)]
pub struct LayerScale {
    gamma: Tensor,
}

impl LayerScale {
    /// Adds `gamma`, filled with `start`, under `path`.
    pub fn new(path: &nn::Path, width: i64, start: f64) -> Self {
        Self {
            gamma: path.var("gamma", &[width], Init::Const(start)),
        }
    }

    /// Scales the last dimension.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x * &self.gamma
    }

    pub(crate) fn shallow_clone(&self) -> Self {
        Self {
            gamma: self.gamma.shallow_clone(),
        }
    }
}

/// Stochastic depth (arXiv 1603.09382), decided per sample.
#[derive(Debug, Clone, Copy)]
pub struct DropPath {
    rate: f64,
}

impl DropPath {
    /// Drops a branch with probability `rate` in `[0, 1)`.
    pub fn new(rate: f64) -> Self {
        Self { rate }
    }

    /// Factors for one branch of a batch like `x`: `[B, 1, 1]`, each 0 or `1 / (1 - rate)`, drawn
    /// from libtorch's global generator; none where nothing is ever dropped.
    pub fn draw(&self, x: &Tensor, train: bool) -> Option<Tensor> {
        if !train || self.rate == 0.0 {
            return None;
        }
        let keep = 1.0 - self.rate;
        let mut factors = Tensor::empty([x.size()[0], 1, 1], (x.kind(), x.device()));
        let _ = factors.bernoulli_float_(keep);
        Some(factors / keep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    #[test]
    fn norms_stay_float32_under_autocast() {
        let store = nn::VarStore::new(Device::Cpu);
        let norm = LayerNorm::new(&store.root(), 16, 1e-6);
        let x = Tensor::randn([3, 16], (Kind::Float, Device::Cpu)).to_kind(Kind::BFloat16);
        let wanted = norm.forward(&x.to_kind(Kind::Float));
        let _autocast = native::Autocast::bf16(Device::Cpu).unwrap();
        let found = norm.forward(&x);
        assert_eq!(found.kind(), Kind::Float);
        assert_eq!(found, wanted);
    }

    #[test]
    fn linear_starts_within_glorots_bound_and_fills_it() {
        let store = nn::VarStore::new(Device::Cpu);
        let linear = Linear::new(&store.root(), 30, 90, true);
        let bound = (6.0f64 / 120.0).sqrt();
        let largest = linear.weight.abs().max().double_value(&[]);
        assert!(
            largest <= bound && largest > 0.98 * bound,
            "{largest} against {bound}"
        );
        assert_eq!(
            linear.bias.as_ref().unwrap().abs().max().double_value(&[]),
            0.0
        );
    }

    #[test]
    fn drop_path_keeps_the_mean_and_is_still_in_evaluation() {
        tch::manual_seed(1);
        let x = Tensor::ones([20_000, 1, 1], (Kind::Float, Device::Cpu));
        let factors = DropPath::new(0.25).draw(&x, true).unwrap();
        let mean = factors.mean(Kind::Double).double_value(&[]);
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        let off = (&factors * (&factors - 1.0 / 0.75))
            .abs()
            .max()
            .double_value(&[]);
        assert!(off < 1e-6, "only 0 and 1 / keep occur");
        assert!(DropPath::new(0.25).draw(&x, false).is_none());
        assert!(DropPath::new(0.0).draw(&x, true).is_none());
    }
}

//! The classifier: trunk, pooling, head. `[B, 3, H, W]` in, `[B, K]` out.
//!
//! Source: MAE `models_vit.py` over timm 0.3.2; names as there, the trunk at the root of the
//! variable store, then `fc_norm.*` (mean pooling) and `head.*`. Parity: `vit_classifier_gap`,
//! `vit_classifier_cls`. No known difference.

use backbone::{LayerNorm, Vit};
use tch::Tensor;
use tch::nn::{self, Module};

use crate::config::{ClassifierConfig, Pool};
use crate::error::ClassificationError;
use crate::probe::ProbeHead;

/// Bound of the head's truncated normal distribution, absolute as in timm's `trunc_normal_`.
const TRUNCATION: f64 = 2.0;

#[derive(Debug)]
enum Head {
    Linear(nn::Linear),
    Probe(ProbeHead),
}

/// A ViT with a classification head.
#[derive(Debug)]
pub struct Classifier {
    trunk: Vit,
    fc_norm: Option<LayerNorm>,
    head: Head,
}

impl Classifier {
    /// Builds the model in an empty variable store, initialised at random from libtorch's global
    /// generator. A probe's trunk gets `requires_grad = false`.
    ///
    /// # Errors
    /// When [`ClassifierConfig::check`] refuses the configuration.
    pub fn new(vs: &nn::VarStore, config: &ClassifierConfig) -> Result<Self, ClassificationError> {
        config.check()?;
        let root = vs.root();
        let trunk = Vit::new(&root, &config.trunk)?;
        let width = config.trunk.width;
        let fc_norm = match config.pool {
            Pool::Mean => Some(LayerNorm::new(
                &(&root / "fc_norm"),
                width,
                config.trunk.norm_eps,
            )),
            Pool::ClassToken => None,
        };
        if config.probe {
            for variable in vs.variables().values() {
                // The flag lives in the shared tensor, the returned handle is the same one.
                let _ = variable.set_requires_grad(false);
            }
        }
        let path = &root / "head";
        let head = if config.probe {
            Head::Probe(ProbeHead::new(
                &path,
                width,
                config.classes,
                config.head_init_std,
            ))
        } else {
            Head::Linear(linear_head(
                &path,
                width,
                config.classes,
                config.head_init_std,
            ))
        };
        Ok(Self {
            trunk,
            fc_norm,
            head,
        })
    }

    /// The trunk.
    pub fn trunk(&self) -> &Vit {
        &self.trunk
    }

    /// What the head reads: `[B, 3, H, W]` to `[B, C]`, pooled and normed. Without gradients, and
    /// as in evaluation, when the model is a probe.
    pub fn features(&self, images: &Tensor, train: bool) -> Tensor {
        match self.head {
            Head::Linear(_) => self.pooled(images, train),
            Head::Probe(_) => tch::no_grad(|| self.pooled(images, false)),
        }
    }

    /// `[B, 3, H, W]` to `[B, K]`.
    pub fn logits(&self, images: &Tensor, train: bool) -> Tensor {
        self.classify(&self.features(images, train), train)
    }

    /// The head alone: features `[B, C]` to logits `[B, K]`.
    pub fn classify(&self, features: &Tensor, train: bool) -> Tensor {
        match &self.head {
            Head::Linear(linear) => linear.forward(features),
            Head::Probe(probe) => probe.forward(features, train),
        }
    }

    fn pooled(&self, images: &Tensor, train: bool) -> Tensor {
        let tokens = self
            .trunk
            .with_class_token(&self.trunk.patch_tokens(images)); // [B, 1 + N, C]
        match &self.fc_norm {
            Some(norm) => {
                let count = tokens.size()[1];
                let tokens = self.trunk.blocks_for(tokens, 0..count, train); // [B, 1 + N, C]
                let patches = tokens.narrow(1, 1, count - 1); // [B, N, C]
                norm.forward(&patches.mean_dim(1, false, None)) // [B, C]
            }
            // The last block computes nothing for tokens that nobody reads.
            None => self.trunk.blocks_for(tokens, 0..1, train).squeeze_dim(1), // [B, C]
        }
    }
}

/// A linear layer with weights from a normal distribution truncated at ±2 and zero biases. The
/// configuration keeps `init_std` at 0.5 or less, where truncating and clamping are the same to
/// one weight in 16,000.
pub(crate) fn linear_head(path: &nn::Path, width: i64, classes: i64, init_std: f64) -> nn::Linear {
    let linear = nn::linear(
        path,
        width,
        classes,
        nn::LinearConfig {
            ws_init: nn::Init::Randn {
                mean: 0.0,
                stdev: init_std,
            },
            bs_init: Some(nn::Init::Const(0.0)),
            bias: true,
        },
    );
    tch::no_grad(|| {
        let _ = linear.ws.shallow_clone().clamp_(-TRUNCATION, TRUNCATION);
    });
    linear
}

/// Parameters that are trained (their number of values), as MAE's log counts them.
pub fn trainable_values(vs: &nn::VarStore) -> usize {
    vs.variables()
        .values()
        .filter(|variable| variable.requires_grad())
        .map(Tensor::numel)
        .sum()
}

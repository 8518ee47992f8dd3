//! The auxiliary head: convolutions over one map, for a second loss in training (FCN, arXiv 1411.4038;
//! the use of it from PSPNet, arXiv 1612.01105).
//!
//! Source: mmsegmentation `models/decode_heads/fcn_head.py`. Parity: `upernet`.

use backbone::SumOverProcesses;
use tch::{Tensor, nn};

use crate::config::AuxiliaryConfig;
use crate::conv::{Classifier, ConvNormRelu};

/// Logits out of one map.
#[derive(Debug)]
pub struct FcnHead {
    convs: Vec<ConvNormRelu>,
    classifier: Classifier,
}

impl FcnHead {
    /// Adds the parameters under `path`, for a map of `inputs` channels.
    pub fn new(
        path: &nn::Path,
        inputs: i64,
        config: &AuxiliaryConfig,
        classes: i64,
        dropout: f64,
    ) -> Self {
        let convs: Vec<_> = (0..config.convolutions)
            .map(|index| {
                let inputs = if index == 0 { inputs } else { config.channels };
                let path = path / "convs" / index;
                ConvNormRelu::new(&path, inputs, config.channels, 3)
            })
            .collect();
        Self {
            convs,
            classifier: Classifier::new(&(path / "conv_seg"), config.channels, classes, dropout),
        }
    }

    /// From now on training takes the statistics of BatchNorm over the batches of all processes.
    pub fn synchronise(&mut self, sum: &SumOverProcesses) {
        for conv in &mut self.convs {
            conv.synchronise(sum);
        }
    }

    /// `[B, inputs, H, W] -> [B, classes, H, W]`.
    pub fn forward(&self, map: &Tensor, train: bool) -> Tensor {
        let mut x = map.shallow_clone();
        for conv in &self.convs {
            x = conv.forward(&x, train);
        }
        self.classifier.forward(&x, train)
    }
}

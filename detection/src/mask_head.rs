//! The mask head: pooled regions to one small mask for each class.
//!
//! Source: detectron2 `modeling/roi_heads/mask_head.py`. Parity: `vitdet`, mask_logits, mask_targets,
//! loss_mask.

use backbone::NormedConv;
use data::InstanceMask;
use tch::{Kind, Reduction, Tensor, nn};

use crate::boxes::BoxF;
use crate::config::DetectorConfig;
use crate::layers::{Conv, msra, normal};
use crate::mask_targets::{MaskTargetError, mask_targets};

/// Cells along one side of a pooled region.
pub(crate) const MASK_BINS: i64 = 14;
/// Cells along one side of a predicted mask.
pub const MASK_SIZE: usize = 28;

/// Objects whose masks count in the loss, over all pictures.
#[derive(Debug, Default)]
pub struct MaskSamples<'a> {
    /// The regions.
    pub boxes: Vec<BoxF>,
    /// Their classes.
    pub classes: Vec<i64>,
    /// The outlines of their objects.
    pub masks: Vec<&'a InstanceMask>,
}

/// Convolutions, a doubling and the prediction.
#[derive(Debug)]
pub struct MaskHead {
    convolutions: Vec<NormedConv>,
    deconv_weight: Tensor,
    deconv_bias: Tensor,
    predictor: Conv,
}

impl MaskHead {
    /// Adds the parameters under `path`.
    pub(crate) fn new(path: &nn::Path, config: &DetectorConfig) -> Self {
        let channels = config.channels;
        let convolutions = (1..=config.roi.mask_convolutions)
            .map(|number| {
                let path = path / format!("mask_fcn{number}");
                NormedConv::new(&path, channels, channels, 3, msra(channels * 9))
            })
            .collect();
        let deconv = path / "deconv";
        Self {
            convolutions,
            deconv_weight: deconv.var("weight", &[channels, channels, 2, 2], msra(channels * 4)),
            deconv_bias: deconv.var("bias", &[channels], nn::Init::Const(0.0)),
            predictor: Conv::new(
                &(path / "predictor"),
                channels,
                config.classes as i64,
                1,
                normal(0.001),
            ),
        }
    }

    /// Logits of each region's mask of its own class: `[R, C, 14, 14]` and `R` classes to
    /// `[R, 28, 28]`.
    pub fn forward(&self, pooled: &Tensor, classes: &[i64]) -> Tensor {
        let x = self
            .convolutions
            .iter()
            .fold(pooled.shallow_clone(), |x, conv| conv.forward(&x).relu_());
        let bias = Some(&self.deconv_bias);
        let x = x
            .conv_transpose2d(&self.deconv_weight, bias, [2, 2], [0, 0], [0, 0], 1, [1, 1])
            .relu_();
        let logits = self.predictor.forward(&x); // [R, K, 28, 28]
        let size = MASK_SIZE as i64;
        let picked = Tensor::from_slice(classes)
            .to_device(logits.device())
            .view([-1, 1, 1, 1])
            .expand([-1, 1, size, size], false);
        logits
            .gather(1, &picked, false)
            .squeeze_dim(1)
            .to_kind(Kind::Float)
    }

    /// `loss_mask`: mean binary cross-entropy over all cells; 0, with a graph, where there is no object.
    ///
    /// # Errors
    /// When an outline cannot be rasterised.
    pub fn loss(&self, logits: &Tensor, samples: &MaskSamples) -> Result<Tensor, MaskTargetError> {
        if samples.boxes.is_empty() {
            return Ok(logits.sum(Kind::Float) * 0.0);
        }
        let targets = mask_targets(&samples.masks, &samples.boxes, MASK_SIZE)?;
        let size = MASK_SIZE as i64;
        let targets = Tensor::from_slice(&targets)
            .view([-1, size, size])
            .to_device(logits.device())
            .to_kind(Kind::Float);
        Ok(
            logits.binary_cross_entropy_with_logits::<Tensor>(
                &targets,
                None,
                None,
                Reduction::Mean,
            ),
        )
    }
}

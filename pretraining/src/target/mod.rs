//! What hidden patches are predicted as. One file a target; a new one is a file, a variant of
//! [`TargetConfig`] and a line in [`build`].

mod clip;
mod distance;
mod ema;
mod features;
mod hog;
mod hybrid;
mod pixels;
mod tokens;

use std::fmt::Debug;

use data::ColourStatistics;
use tch::{Device, Kind, Reduction, Tensor, nn};

use crate::PretrainError;
use crate::config::PretrainConfig;
use crate::masking::Masking;
use crate::target_config::TargetConfig;

pub use clip::ClipTeacher;
pub use distance::Distance;
pub use ema::EmaTarget;
pub(crate) use ema::TEACHER;
pub use features::FeaturesTarget;
pub use hog::{HogTarget, histograms};
pub use hybrid::HybridTarget;
pub use pixels::PixelTarget;
pub use tokens::{TokenFile, TokensTarget};

/// A batch as targets see it.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// `[B, 3, S, S]`, normalised as the trunk sees them.
    pub images: &'a Tensor,
    /// Numbers of discrete tokens, `[B, L]`, where a target has them.
    pub tokens: Option<&'a Tensor>,
}

/// How a prediction is drawn.
#[derive(Debug)]
pub enum Shown {
    /// As a picture: normalised colours, `[B, L, p * p * 3]`.
    Colours(Tensor),
    /// As heat: how near each patch is to its target, 0 to 1, `[B, L]`.
    Nearness(Tensor),
}

/// A reconstruction target: what is to be predicted for each hidden patch, and how far off a prediction is.
/// Everything here is free of gradients except through a prediction.
pub trait Target: Debug {
    /// Values that are predicted for a patch.
    fn width(&self) -> i64;

    /// Values that a patch's target has: as many as are predicted, unless predictions are scores.
    fn values(&self) -> i64 {
        self.width()
    }

    /// The targets of all patches as the loss compares them, `[B, L, values]` in picture order.
    fn all(&self, seen: Seen) -> Tensor;

    /// The targets of the hidden patches, `[B, L - K, values]` in the order of [`Masking::hidden`].
    fn hidden(&self, seen: Seen, masking: &Masking) -> Tensor {
        pick(&self.all(seen), &masking.hidden())
    }

    /// Loss of each patch: `[B, M, width]` and `[B, M, values]` `-> [B, M]`.
    fn patch_losses(&self, prediction: &Tensor, target: &Tensor) -> Tensor;

    /// Mean of [`Target::patch_losses`]: every sample hides equally many patches, so this is the
    /// reference's sum over hidden patches divided by their number.
    fn loss(&self, prediction: &Tensor, target: &Tensor) -> Tensor {
        let losses = self.patch_losses(prediction, target);
        losses.mean(losses.kind())
    }

    /// A prediction for all patches, `[B, L, width]`, to look at.
    fn shown(&self, prediction: &Tensor, seen: Seen) -> Shown {
        let cosine = cosine(&wide(prediction), &unit_length(&self.all(seen)));
        // A target of zeros has no direction to be near to.
        Shown::Nearness(cosine.nan_to_num(0.0, None::<f64>, None::<f64>))
    }

    /// Called after every optimiser step, `step` steps being done: a target that follows the model moves.
    fn after_step(&self, step: u64) {
        let _ = step;
    }
}

/// A configured target, its teacher loaded where it has one. A target that follows the model keeps its weights
/// in `store` under `teacher`.
///
/// # Errors
/// Where a teacher's file cannot be read or does not fit.
pub(crate) fn build(
    target: &TargetConfig,
    config: &PretrainConfig,
    store: &nn::VarStore,
) -> Result<Box<dyn Target>, PretrainError> {
    let device = store.device();
    let patch = config.trunk.patch_size;
    Ok(match target {
        TargetConfig::Pixels { normalize } => Box::new(PixelTarget {
            patch,
            normalize: *normalize,
        }),
        TargetConfig::Clip(tower) => Box::new(ClipTeacher::load(tower, &config.colours, device)?),
        TargetConfig::Hog(hog) => Box::new(HogTarget::new(hog, patch, &config.colours, device)),
        TargetConfig::Features(of) => Box::new(FeaturesTarget::load(of, &config.colours, device)?),
        TargetConfig::Tokens(tokens) => Box::new(TokensTarget::new(tokens.vocabulary)),
        TargetConfig::Ema(ema) => Box::new(EmaTarget::new(ema, &config.trunk, store)?),
        TargetConfig::Hybrid { parts } => {
            let built = parts
                .iter()
                .map(|part| Ok((part.weight, build(&part.target, config, store)?)))
                .collect::<Result<_, PretrainError>>()?;
            Box::new(HybridTarget::new(built))
        }
    })
}

/// The patches `ids [B, M]` of `[B, L, P]`.
pub(crate) fn pick(all: &Tensor, ids: &Tensor) -> Tensor {
    let (batch, count) = ids.size2().expect("patch numbers come as [B, M]");
    let ids = ids
        .unsqueeze(-1)
        .expand([batch, count, all.size()[2]], false);
    all.gather(1, &ids, false)
}

/// Cosine of the angle between predictions of any length and targets of length 1: `[.., P] -> [..]`.
/// The length is divided out after the sum, which spares a normalised copy of the prediction.
pub(crate) fn cosine(prediction: &Tensor, target: &Tensor) -> Tensor {
    let last = [-1i64];
    let product = (prediction * target).sum_dim_intlist(last.as_slice(), false, prediction.kind());
    product / prediction.norm_scalaropt_dim(2.0, last.as_slice(), false)
}

pub(crate) fn unit_length(x: &Tensor) -> Tensor {
    let x = &wide(x);
    x / x.norm_scalaropt_dim(2.0, [-1i64].as_slice(), true)
}

/// Mean squared error of each patch: `[B, M, P]` twice `-> [B, M]`.
pub(crate) fn squared_error(prediction: &Tensor, target: &Tensor) -> Tensor {
    let prediction = wide(prediction);
    prediction.mse_loss(target, Reduction::None).mean_dim(
        [-1i64].as_slice(),
        false,
        prediction.kind(),
    )
}

/// Factor and summand per channel, `[1, 3, 1, 1]` each, from pictures normalised with `from` to ones normalised
/// with `to`.
pub(crate) fn recolouring(
    from: &ColourStatistics,
    to: &ColourStatistics,
    device: Device,
) -> [Tensor; 2] {
    let [mean, std, to_mean, to_std] =
        [from.mean, from.std, to.mean, to.std].map(|three| three.map(f64::from));
    [
        per_channel([0, 1, 2].map(|c| std[c] / to_std[c]), device),
        per_channel(
            [0, 1, 2].map(|c| (mean[c] - to_mean[c]) / to_std[c]),
            device,
        ),
    ]
}

/// At least float32: predictions under autocast are narrower.
pub(crate) fn wide(x: &Tensor) -> Tensor {
    match x.kind() {
        Kind::Double => x.shallow_clone(),
        _ => x.to_kind(Kind::Float),
    }
}

/// Three numbers, one a channel, as `[1, 3, 1, 1]`.
pub(crate) fn per_channel(values: [f64; 3], device: Device) -> Tensor {
    Tensor::from_slice(&values.map(|value| value as f32))
        .view([1, 3, 1, 1])
        .to_device(device)
}

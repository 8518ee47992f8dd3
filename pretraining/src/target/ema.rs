//! Features of a slow copy of the trunk itself: a moving average of its weights, which sees the whole picture
//! (data2vec, arXiv 2202.03555; BootMAE, arXiv 2207.07116).

use backbone::{Vit, VitConfig};
use tch::{Tensor, nn};

use super::distance::standardised;
use super::{Seen, Target};
use crate::PretrainError;
use crate::target_config::EmaConfig;

/// Where the copy's weights are kept, so that checkpoints hold them.
pub(crate) const TEACHER: &str = "teacher";

/// The mean of the copy's last blocks' features, each at mean 0 and variance 1.
#[derive(Debug)]
pub struct EmaTarget {
    trunk: Vit,
    config: EmaConfig,
    /// The copy's variables and the trunk's, in the same order.
    weights: [Vec<Tensor>; 2],
}

impl EmaTarget {
    /// Copies the trunk whose variables are at the root of `store`.
    ///
    /// # Errors
    /// [`PretrainError::Trunk`] where the trunk is impossible.
    pub fn new(
        config: &EmaConfig,
        trunk: &VitConfig,
        store: &nn::VarStore,
    ) -> Result<Self, PretrainError> {
        let path = store.root() / TEACHER;
        let copy = VitConfig {
            drop_path: 0.0,
            activation_checkpointing: false,
            ..trunk.clone()
        };
        let teacher = Vit::new(&path, &copy).map_err(|source| PretrainError::Trunk {
            place: "trunk",
            source,
        })?;
        let variables = store.variables();
        let prefix = format!("{TEACHER}.");
        let (copies, originals): (Vec<Tensor>, Vec<Tensor>) = variables
            .iter()
            .filter_map(|(name, copy)| {
                let original = variables.get(name.strip_prefix(&prefix)?)?;
                Some((copy.shallow_clone(), original.shallow_clone()))
            })
            .unzip();
        tch::no_grad(|| {
            for (copy, original) in copies.iter().zip(&originals) {
                let mut copy = copy.set_requires_grad(false);
                copy.copy_(original);
            }
        });
        Ok(Self {
            trunk: teacher,
            config: config.clone(),
            weights: [copies, originals],
        })
    }

    /// The share of itself that the copy keeps in step `step`, from 1.
    fn decay(&self, step: u64) -> f64 {
        let EmaConfig {
            decay,
            decay_end,
            decay_steps,
            ..
        } = self.config;
        match (decay_end, decay_steps) {
            (Some(end), Some(steps)) if steps > 0 => {
                decay + (end - decay) * (step as f64 / steps as f64).min(1.0)
            }
            _ => decay,
        }
    }
}

impl Target for EmaTarget {
    fn width(&self) -> i64 {
        self.trunk.config().width
    }

    fn all(&self, seen: Seen) -> Tensor {
        let depth = self.trunk.config().depth;
        let taps: Vec<i64> = (depth - self.config.blocks + 1..=depth).collect();
        let features = self.trunk.forward(seen.images, &taps, false);
        let patches: Vec<Tensor> = features
            .iter()
            .map(|tokens| standardised(&tokens.narrow(1, 1, tokens.size()[1] - 1)))
            .collect();
        let sum = patches.into_iter().reduce(|sum, one| sum + one);
        let mean = sum.expect("at least one block") / self.config.blocks as f64;
        self.config.distance.prepare(&mean)
    }

    fn patch_losses(&self, prediction: &Tensor, target: &Tensor) -> Tensor {
        self.config.distance.between(prediction, target)
    }

    fn after_step(&self, step: u64) {
        let [copies, originals] = &self.weights;
        let share = 1.0 - self.decay(step);
        tch::no_grad(|| {
            for (copy, original) in copies.iter().zip(originals) {
                let _ = copy.shallow_clone().lerp_(original, share);
            }
        });
    }
}

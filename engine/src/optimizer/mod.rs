//! Optimisers whose whole state can be saved and restored bit for bit.
//!
//! Parameters are walked sorted by name, and the task is asked for the policy of each once; those
//! with the same learning-rate scale and weight decay form a group.

mod adamw;
mod groups;
mod lars;

use serde::{Deserialize, Serialize};
use tch::Tensor;

pub use groups::{Group, Parameter, ParameterGroups};

use crate::{EngineError, World};
use adamw::AdamW;
use lars::Lars;

/// Which update rule, with its constants.
///
/// `weight_decay` is what the configuration asks for; which parameters get it is the task's policy
/// ([`crate::Task::policy`]), whose absolute values are what the update uses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum OptimizerConfig {
    /// AdamW (Loshchilov and Hutter, arXiv 1711.05101), as `torch.optim.AdamW`.
    Adamw {
        /// Decay rates of the first and second moment.
        #[serde(default = "default_betas")]
        betas: [f64; 2],
        /// Added to the square root of the second moment.
        #[serde(default = "default_eps")]
        eps: f64,
        /// Decoupled weight decay of the parameters that decay.
        #[serde(default)]
        weight_decay: f64,
    },
    /// LARS (You et al., arXiv 1708.03888), as facebookresearch/mae `util/lars.py`: parameters of
    /// one dimension neither decay nor get a rate of their own.
    Lars {
        /// Momentum.
        #[serde(default = "default_momentum")]
        momentum: f64,
        /// Weight decay of the parameters that decay, added to the gradient.
        #[serde(default)]
        weight_decay: f64,
        /// Trust coefficient.
        #[serde(default = "default_trust")]
        trust: f64,
    },
}

fn default_betas() -> [f64; 2] {
    [0.9, 0.999]
}
fn default_eps() -> f64 {
    1e-8
}
fn default_momentum() -> f64 {
    0.9
}
fn default_trust() -> f64 {
    0.001
}

impl OptimizerConfig {
    /// The weight decay that a task's policy gives to the parameters that decay.
    pub fn weight_decay(&self) -> f64 {
        match self {
            Self::Adamw { weight_decay, .. } | Self::Lars { weight_decay, .. } => *weight_decay,
        }
    }

    /// Checks the ranges of all constants.
    ///
    /// # Errors
    /// One sentence naming the constant.
    pub fn check(&self) -> Result<(), EngineError> {
        let fraction = |key: &str, value: f64| {
            if (0.0..1.0).contains(&value) {
                Ok(())
            } else {
                Err(EngineError::Config(format!(
                    "optimizer: {key} is {value}; it must be at least 0 and below 1"
                )))
            }
        };
        let not_negative = |key: &str, value: f64| {
            if value.is_finite() && value >= 0.0 {
                Ok(())
            } else {
                Err(EngineError::Config(format!(
                    "optimizer: {key} is {value}; it must be 0 or more"
                )))
            }
        };
        match self {
            Self::Adamw { betas, eps, .. } => {
                fraction("betas[0]", betas[0])?;
                fraction("betas[1]", betas[1])?;
                not_negative("eps", *eps)?;
            }
            Self::Lars {
                momentum, trust, ..
            } => {
                fraction("momentum", *momentum)?;
                not_negative("trust", *trust)?;
            }
        }
        not_negative("weight_decay", self.weight_decay())
    }
}

/// An update rule with its parameters and state.
#[derive(Debug)]
pub enum Optimizer {
    /// See [`OptimizerConfig::Adamw`].
    AdamW(AdamW),
    /// See [`OptimizerConfig::Lars`].
    Lars(Lars),
}

impl Optimizer {
    /// An optimiser in its initial state, all moments zero.
    pub fn new(config: &OptimizerConfig, groups: ParameterGroups) -> Self {
        match *config {
            OptimizerConfig::Adamw { betas, eps, .. } => {
                Self::AdamW(AdamW::new(groups, betas, eps))
            }
            OptimizerConfig::Lars {
                momentum, trust, ..
            } => Self::Lars(Lars::new(groups, momentum, trust)),
        }
    }

    /// The parameters with their policies.
    pub fn groups(&self) -> &ParameterGroups {
        match self {
            Self::AdamW(rule) => rule.groups(),
            Self::Lars(rule) => rule.groups(),
        }
    }

    /// One update from the gradients that are there, at learning rate `lr` times each group's
    /// scale. Parameters without a gradient, and their state, stay as they are.
    pub fn step(&mut self, lr: f64) {
        tch::no_grad(|| match self {
            Self::AdamW(rule) => rule.step(lr),
            Self::Lars(rule) => rule.step(lr),
        });
    }

    /// Forgets all gradients, before the next backward pass.
    pub fn clear_gradients(&self) {
        crate::kernels::clear_gradients(
            self.groups()
                .parameters()
                .map(|parameter| &parameter.tensor),
        );
    }

    /// Moments and step counts by name, e.g. `exp_avg.blocks.0.norm1.weight`; the tensors are the
    /// optimiser's own, so they are to be written before the next step.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        match self {
            Self::AdamW(rule) => rule.state(),
            Self::Lars(rule) => rule.state(),
        }
    }

    /// Takes rank 0's state.
    pub(crate) fn take_from_main(&mut self, world: &World) -> Result<(), EngineError> {
        let own = self.state();
        let tensors: Vec<Tensor> = own
            .iter()
            .map(|(_, tensor)| tensor.shallow_clone())
            .collect();
        world.take_from_main(&tensors)?;
        if let Self::AdamW(rule) = self {
            rule.take_steps(&own);
        }
        Ok(())
    }

    /// Takes over a state as [`Optimizer::state`] gave it; nothing changes unless all of it fits.
    ///
    /// # Errors
    /// The sentence says which entry is missing, unknown, or of another shape.
    pub fn load_state(&mut self, state: Vec<(String, Tensor)>) -> Result<(), String> {
        let own = self.state();
        crate::tensor_file::copy_exactly(&own, state)?;
        if let Self::AdamW(rule) = self {
            rule.take_steps(&own);
        }
        Ok(())
    }
}

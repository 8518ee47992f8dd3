//! LARS, layer-wise adaptive rate scaling, as facebookresearch/mae `util/lars.py` (from MoCo v3).

use tch::Tensor;

use super::ParameterGroups;

/// See [`super::OptimizerConfig::Lars`].
#[derive(Debug)]
pub struct Lars {
    groups: ParameterGroups,
    momentum: f64,
    trust: f64,
    /// Momentum buffers, one per parameter, in the groups' order.
    velocity: Vec<Tensor>,
}

impl Lars {
    pub(super) fn new(groups: ParameterGroups, momentum: f64, trust: f64) -> Self {
        let velocity = groups
            .parameters()
            .map(|parameter| parameter.tensor.detach().zeros_like())
            .collect();
        Self {
            groups,
            momentum,
            trust,
            velocity,
        }
    }

    pub(super) fn groups(&self) -> &ParameterGroups {
        &self.groups
    }

    pub(super) fn step(&mut self, lr: f64) {
        let mut velocities = self.velocity.iter_mut();
        for group in self.groups.groups() {
            for (parameter, velocity) in group.parameters.iter().zip(&mut velocities) {
                let weight = &parameter.tensor;
                let gradient = weight.grad();
                if !gradient.defined() {
                    continue;
                }
                let update = if weight.dim() > 1 {
                    let decayed = &gradient + weight * group.weight_decay;
                    adapted(weight, &decayed, self.trust)
                } else {
                    gradient
                };
                let _ = velocity.g_mul_scalar_(self.momentum);
                let _ = velocity.g_add_(&update);
                let _ = weight
                    .shallow_clone()
                    .g_sub_(&(&*velocity * (lr * group.lr_scale)));
            }
        }
    }

    pub(super) fn state(&self) -> Vec<(String, Tensor)> {
        self.groups
            .parameters()
            .zip(&self.velocity)
            .map(|(parameter, velocity)| {
                (format!("mu.{}", parameter.name), velocity.shallow_clone())
            })
            .collect()
    }
}

/// The update with the layer's own rate. Both norms stay on the device; where one of them is zero
/// the rate is 1.
fn adapted(weight: &Tensor, update: &Tensor, trust: f64) -> Tensor {
    let (weight_norm, update_norm) = (weight.norm(), update.norm());
    let usable = weight_norm.gt(0.0).logical_and(&update_norm.gt(0.0));
    let rate = &weight_norm * trust / &update_norm;
    update * rate.where_self(&usable, &weight_norm.ones_like())
}

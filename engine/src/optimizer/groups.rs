//! Which parameters are optimised, and how.

use std::fmt;

use tch::Tensor;

use crate::{EngineError, ParamPolicy};

/// One trained parameter.
#[derive(Debug)]
pub struct Parameter {
    /// Name in the variable store.
    pub name: String,
    /// The model's own tensor.
    pub tensor: Tensor,
}

/// Parameters with the same policy.
#[derive(Debug)]
pub struct Group {
    /// Factor on the scheduled learning rate.
    pub lr_scale: f64,
    /// Absolute weight decay.
    pub weight_decay: f64,
    /// Sorted by name.
    pub parameters: Vec<Parameter>,
}

/// All trained parameters by policy, and the names of those left alone.
#[derive(Debug)]
pub struct ParameterGroups {
    groups: Vec<Group>,
    frozen: Vec<String>,
}

impl ParameterGroups {
    /// Asks `policy` once for each floating-point variable that wants a gradient, sorted by name.
    ///
    /// A variable that the policy freezes (or gives a learning-rate scale of 0) is told not to
    /// want a gradient any more, so that none is computed for it.
    ///
    /// # Errors
    /// When nothing is left to train, or a policy holds a number that is negative or not finite.
    pub fn new(
        mut variables: Vec<(String, Tensor)>,
        policy: impl Fn(&str, &[i64]) -> ParamPolicy,
    ) -> Result<Self, EngineError> {
        variables.sort_by(|a, b| a.0.cmp(&b.0));
        let mut groups: Vec<Group> = Vec::new();
        let mut frozen = Vec::new();
        for (name, tensor) in variables {
            if !tensor.requires_grad() {
                frozen.push(name);
                continue;
            }
            let asked = policy(&name, &tensor.size());
            let usable = |value: f64| value.is_finite() && value >= 0.0;
            if !usable(asked.lr_scale) || !usable(asked.weight_decay) {
                return Err(EngineError::Config(format!(
                    "the policy of {name} has learning-rate scale {} and weight decay {}; both must be 0 or more",
                    asked.lr_scale, asked.weight_decay
                )));
            }
            if !asked.trains() {
                let _ = tensor.set_requires_grad(false);
                frozen.push(name);
                continue;
            }
            let parameter = Parameter { name, tensor };
            let same = |group: &&mut Group| {
                group.lr_scale == asked.lr_scale && group.weight_decay == asked.weight_decay
            };
            match groups.iter_mut().find(same) {
                Some(group) => group.parameters.push(parameter),
                None => groups.push(Group {
                    lr_scale: asked.lr_scale,
                    weight_decay: asked.weight_decay,
                    parameters: vec![parameter],
                }),
            }
        }
        if groups.is_empty() {
            return Err(EngineError::Config(
                "no parameter is left to train: all are frozen".into(),
            ));
        }
        groups.sort_by(|a, b| {
            a.lr_scale
                .total_cmp(&b.lr_scale)
                .then(a.weight_decay.total_cmp(&b.weight_decay))
        });
        Ok(Self { groups, frozen })
    }

    /// The groups, by ascending learning-rate scale, then weight decay.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// All trained parameters, group by group.
    pub fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        self.groups.iter().flat_map(|group| &group.parameters)
    }

    /// Variables that are not trained, sorted by name.
    pub fn frozen(&self) -> &[String] {
        &self.frozen
    }

    /// Trained numbers in all.
    pub fn trained(&self) -> usize {
        self.parameters()
            .map(|parameter| parameter.tensor.numel())
            .sum()
    }

    /// The largest learning-rate scale of any group.
    pub fn largest_scale(&self) -> f64 {
        self.groups
            .iter()
            .map(|group| group.lr_scale)
            .fold(0.0, f64::max)
    }
}

/// A table for logs: one line per group.
impl fmt::Display for ParameterGroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "lr scale     weight decay  tensors      numbers  first")?;
        for group in &self.groups {
            let numbers: usize = group.parameters.iter().map(|p| p.tensor.numel()).sum();
            writeln!(
                f,
                "{:<12.6} {:<12.6} {:>8} {:>12}  {}",
                group.lr_scale,
                group.weight_decay,
                group.parameters.len(),
                numbers,
                group.parameters[0].name,
            )?;
        }
        write!(
            f,
            "{} parameters trained, {} tensors frozen",
            self.trained(),
            self.frozen.len()
        )
    }
}

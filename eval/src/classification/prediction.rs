//! What a classifier said about one picture.

use crate::EvalError;

/// How many classes of a prediction are kept.
pub const TOP_K: usize = 5;

/// What the numbers of a row are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// Any numbers, to be put through a softmax.
    Logits,
    /// Non-negative numbers whose sum is 1, up to rounding that is divided out.
    Probabilities,
}

impl Scale {
    fn noun(self) -> &'static str {
        match self {
            Self::Logits => "logit",
            Self::Probabilities => "probability",
        }
    }
}

/// A class with its probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ranked {
    /// Class number, from 0.
    pub class: usize,
    /// Softmax probability, 0..=1; nothing where only the ranking is known.
    pub probability: Option<f64>,
}

/// One picture's prediction: its most probable classes, and the truth where it is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// Name of the picture, usually its path within the data set.
    pub name: String,
    /// True class.
    pub label: Option<usize>,
    /// The [`TOP_K`] most probable classes (all, where there are fewer), best first.
    pub top: Vec<Ranked>,
    /// Cross-entropy: minus the natural logarithm of the true class's probability.
    pub loss: Option<f64>,
}

impl Prediction {
    /// Ranks a row of logits: softmax in double precision, and the loss where the label is known.
    ///
    /// Of equal logits the lower class number comes first. (`torch.topk`, which the reference's
    /// accuracy is made of, leaves that order open, so the two may differ on exact ties.)
    ///
    /// # Errors
    /// When a logit is not a finite number, there is none, or the label is no class.
    pub fn from_logits(
        name: impl Into<String>,
        label: Option<usize>,
        logits: &[f32],
    ) -> Result<Self, EvalError> {
        Self::from_scores(name.into(), label, logits, Scale::Logits)
    }

    /// Ranks a row of numbers and derives probabilities and the loss from it. A true class of
    /// probability 0 has no finite loss, so that row has none.
    pub(super) fn from_scores<T: Copy + PartialOrd + Into<f64>>(
        name: String,
        label: Option<usize>,
        scores: &[T],
        scale: Scale,
    ) -> Result<Self, EvalError> {
        let at = |class: usize| -> f64 { scores[class].into() };
        if scores.is_empty() {
            return Err(EvalError::prediction(&name, "there are no logits"));
        }
        if let Some(class) = (0..scores.len()).find(|&class| !at(class).is_finite()) {
            let problem = format!(
                "the {} of class {class} is {}: the model's weights or its input are broken",
                scale.noun(),
                at(class)
            );
            return Err(EvalError::prediction(&name, problem));
        }
        check_label(&name, label, scores.len())?;

        let order = best(scores);
        let largest = at(order[0]);
        let sum: f64 = match scale {
            Scale::Logits => (0..scores.len()).map(|c| (at(c) - largest).exp()).sum(),
            Scale::Probabilities => (0..scores.len()).map(at).sum(),
        };
        let log_probability = |class: usize| match scale {
            Scale::Logits => at(class) - largest - sum.ln(),
            Scale::Probabilities => (at(class) / sum).ln(),
        };
        let probability = |class: usize| match scale {
            Scale::Logits => log_probability(class).exp(),
            Scale::Probabilities => at(class) / sum,
        };
        Ok(Self {
            top: order
                .iter()
                .map(|&class| Ranked {
                    class,
                    probability: Some(probability(class)),
                })
                .collect(),
            // `+ 0.0` turns the -0 of a certain prediction into 0.
            loss: label
                .map(|class| -log_probability(class) + 0.0)
                .filter(|loss| loss.is_finite()),
            name,
            label,
        })
    }

    /// The most probable class.
    pub fn best(&self) -> Option<Ranked> {
        self.top.first().copied()
    }

    /// Whether the true class is among the first `k`; nothing where it is not known.
    pub fn hit(&self, k: usize) -> Option<bool> {
        let label = self.label?;
        Some(self.top.iter().take(k).any(|ranked| ranked.class == label))
    }
}

pub(super) fn check_label(
    name: &str,
    label: Option<usize>,
    classes: usize,
) -> Result<(), EvalError> {
    match label {
        Some(label) if label >= classes => Err(EvalError::prediction(
            name,
            format!("its label is {label}, but there are {classes} classes (from 0)"),
        )),
        _ => Ok(()),
    }
}

/// Indices of the largest values, largest first, lower index first among equals. One pass: with
/// five places an insertion beats sorting a thousand classes.
fn best<T: Copy + PartialOrd>(values: &[T]) -> Vec<usize> {
    let mut places: Vec<usize> = Vec::with_capacity(TOP_K + 1);
    for (class, &value) in values.iter().enumerate() {
        if places.len() == TOP_K && value <= values[places[TOP_K - 1]] {
            continue;
        }
        let place = places.partition_point(|&other| values[other] >= value);
        places.insert(place, class);
        places.truncate(TOP_K);
    }
    places
}

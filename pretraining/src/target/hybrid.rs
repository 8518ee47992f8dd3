//! Several targets at once, with weights.

use tch::Tensor;

use super::{Seen, Shown, Target, wide};
use crate::masking::Masking;

/// A decoder predicts the values of all parts in a row; the loss is the weighted sum of the parts' losses.
#[derive(Debug)]
pub struct HybridTarget {
    parts: Vec<(f64, Box<dyn Target>)>,
}

impl HybridTarget {
    /// Of parts with their weights.
    pub fn new(parts: Vec<(f64, Box<dyn Target>)>) -> Self {
        Self { parts }
    }

    fn joined(&self, of: impl Fn(&dyn Target) -> Tensor) -> Tensor {
        // Numbers of tokens are exact in float32 up to 16 million.
        let parts: Vec<Tensor> = self
            .parts
            .iter()
            .map(|(_, part)| wide(&of(part.as_ref())))
            .collect();
        Tensor::cat(&parts, -1)
    }

    /// Weight and loss of each part.
    fn each<'a>(
        &'a self,
        prediction: &'a Tensor,
        target: &'a Tensor,
        loss: impl Fn(&dyn Target, &Tensor, &Tensor) -> Tensor + 'a,
    ) -> impl Iterator<Item = Tensor> + 'a {
        let (mut at, mut of) = (0, 0);
        self.parts.iter().map(move |(weight, part)| {
            let (width, values) = (part.width(), part.values());
            let own = loss(
                part.as_ref(),
                &prediction.narrow(-1, at, width),
                &target.narrow(-1, of, values),
            );
            (at, of) = (at + width, of + values);
            own * *weight
        })
    }
}

fn sum(parts: impl Iterator<Item = Tensor>) -> Tensor {
    parts
        .reduce(|sum, part| sum + part)
        .expect("a checked recipe has at least one part")
}

impl Target for HybridTarget {
    fn width(&self) -> i64 {
        self.parts.iter().map(|(_, part)| part.width()).sum()
    }

    fn values(&self) -> i64 {
        self.parts.iter().map(|(_, part)| part.values()).sum()
    }

    fn all(&self, seen: Seen) -> Tensor {
        self.joined(|part| part.all(seen))
    }

    fn hidden(&self, seen: Seen, masking: &Masking) -> Tensor {
        self.joined(|part| part.hidden(seen, masking))
    }

    fn patch_losses(&self, prediction: &Tensor, target: &Tensor) -> Tensor {
        sum(self.each(prediction, target, |part, p, t| part.patch_losses(p, t)))
    }

    fn loss(&self, prediction: &Tensor, target: &Tensor) -> Tensor {
        sum(self.each(prediction, target, |part, p, t| part.loss(p, t)))
    }

    /// As the first part is.
    fn shown(&self, prediction: &Tensor, seen: Seen) -> Shown {
        let (_, first) = &self.parts[0];
        first.shown(&prediction.narrow(-1, 0, first.width()), seen)
    }

    fn after_step(&self, step: u64) {
        for (_, part) in &self.parts {
            part.after_step(step);
        }
    }
}

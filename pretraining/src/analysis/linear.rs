//! Linear probes: a softmax classifier on the frozen features of every layer, all trained together on pictures that
//! stream by.
//!
//! Source of the protocol: Caron et al., DINO (arXiv 2104.14294) and Oquab et al., DINOv2 (arXiv 2304.07193,
//! appendix B.3): SGD with momentum 0.9, a cosine schedule, no weight decay, several learning rates side by side of
//! which each layer keeps the best. Here the best is told by held-out training pictures, not by the validation set, and
//! every epoch goes through the pictures in the same random order.
//! Features are standardised channel by channel first, as the normalisation without parameters of MAE's probe does
//! (arXiv 2111.06377, appendix A.2). Gradients are written out: a softmax classifier needs no autograd.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

const MOMENTUM: f64 = 0.9;
/// Pictures that are asked about at once: scores are many where classes are.
const AT_ONCE: i64 = 256;
/// Added to a channel's variance.
const EPSILON: f64 = 1e-6;

/// How probes are trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinearConfig {
    /// Passes over the training pictures.
    pub epochs: usize,
    /// Pictures of a step.
    pub batch_size: usize,
    /// Learning rates that are tried side by side.
    pub rates: Vec<f64>,
    /// Training pictures, one in ten and at most so many, that choose the rate and teach nothing.
    pub held_out: usize,
}

impl Default for LinearConfig {
    fn default() -> Self {
        Self {
            epochs: 10,
            batch_size: 256,
            rates: vec![0.03, 0.1, 0.3, 1.0, 3.0],
            held_out: 2000,
        }
    }
}

/// The probes of all layers of a trunk. First [`LinearProbes::measure`] sees every training picture once, then
/// [`LinearProbes::train`] takes steps.
#[derive(Debug)]
pub struct LinearProbes {
    /// Sum and sum of squares of each channel, `[layers, 1, C]`, float64.
    sums: [Tensor; 2],
    pictures: i64,
    /// `[layers, C, rates * classes]` and `[layers, 1, rates * classes]`.
    weights: [Tensor; 2],
    velocity: [Tensor; 2],
    /// Learning rate of each column.
    rates: Tensor,
    classes: i64,
    steps: u64,
    step: u64,
}

impl LinearProbes {
    /// Probes at zero.
    pub fn new(layers: i64, width: i64, classes: i64, config: &LinearConfig) -> Self {
        let tried = config.rates.len() as i64;
        let zeros =
            |rows: i64| Tensor::zeros([layers, rows, tried * classes], (Kind::Float, Device::Cpu));
        let sum = || Tensor::zeros([layers, 1, width], (Kind::Double, Device::Cpu));
        Self {
            sums: [sum(), sum()],
            pictures: 0,
            weights: [zeros(width), zeros(1)],
            velocity: [zeros(width), zeros(1)],
            rates: Tensor::from_slice(&config.rates)
                .to_kind(Kind::Float)
                .repeat_interleave_self_int(classes, 0, None),
            classes,
            steps: 1,
            step: 0,
        }
    }

    /// Learning rates that are tried.
    pub fn rates(&self) -> usize {
        (self.rates.size()[0] / self.classes) as usize
    }

    /// Says how many steps are to come, over which the rates fall to zero.
    pub fn plan(&mut self, steps: u64) {
        self.steps = steps;
    }

    /// Takes features `[layers, n, C]` into account for the standardisation.
    pub fn measure(&mut self, features: &Tensor) {
        let _no_grad = tch::no_grad_guard();
        let x = features.to_kind(Kind::Double);
        let sum = |x: &Tensor| x.sum_dim_intlist([1i64].as_slice(), true, Kind::Double);
        self.sums[0] += sum(&x);
        self.sums[1] += sum(&x.square());
        self.pictures += x.size()[1];
    }

    fn standardised(&self, features: &Tensor) -> Tensor {
        let pictures = self.pictures.max(1) as f64;
        let mean = &self.sums[0] / pictures;
        let variance = (&self.sums[1] / pictures - mean.square()).clamp_min(0.0) + EPSILON;
        ((features - mean) / variance.sqrt()).to_kind(Kind::Float)
    }

    /// Scores of classes, `[layers, n, rates, classes]`, of standardised features.
    fn scores(&self, x: &Tensor) -> Tensor {
        let scores = self.weights[1].baddbmm(x, &self.weights[0], 1.0, 1.0);
        let size = scores.size();
        scores.view([size[0], size[1], -1, self.classes])
    }

    /// One step on features `[layers, n, C]` of classes `[n]`.
    pub fn train(&mut self, features: &Tensor, labels: &Tensor) {
        let _no_grad = tch::no_grad_guard();
        let x = self.standardised(features);
        let pictures = x.size()[1];
        let target = labels.one_hot(self.classes).view([1, pictures, 1, -1]);
        let said = self.scores(&x).softmax(-1, Kind::Float);
        let error = (said - target).flatten(2, 3) / pictures as f64;
        let gradients = [
            x.transpose(1, 2).matmul(&error),
            error.sum_dim_intlist([1i64].as_slice(), true, Kind::Float),
        ];
        let share = self.step as f64 / self.steps.max(1) as f64;
        let rates = &self.rates * (0.5 * (1.0 + (PI * share.min(1.0)).cos()));
        for (part, gradient) in gradients.into_iter().enumerate() {
            self.velocity[part] *= MOMENTUM;
            self.velocity[part] += gradient;
            self.weights[part] -= &self.velocity[part] * &rates;
        }
        self.step += 1;
    }

    /// The class that each probe says, `[layers, rates, n]`, for features `[layers, n, C]`.
    pub fn predict(&self, features: &Tensor) -> Tensor {
        let _no_grad = tch::no_grad_guard();
        let said: Vec<Tensor> = features
            .split(AT_ONCE, 1)
            .iter()
            .map(|part| {
                let scores = self.scores(&self.standardised(part));
                scores.argmax(-1, false).transpose(1, 2)
            })
            .collect();
        Tensor::cat(&said, -1)
    }

    /// The place of the rate that is right most often on held-out features `[layers, n, C]` of classes `[n]`, for
    /// each layer; the lowest of equally good ones.
    pub fn best_rates(&self, features: &Tensor, labels: &Tensor) -> Vec<usize> {
        let right = self.predict(features).eq_tensor(labels);
        let right = right.sum_dim_intlist([-1i64].as_slice(), false, Kind::Int64);
        let best = right.argmax(1, false);
        (0..best.size()[0])
            .map(|layer| best.int64_value(&[layer]) as usize)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(rates: &[f64]) -> LinearConfig {
        LinearConfig {
            rates: rates.to_vec(),
            ..LinearConfig::default()
        }
    }

    /// Features `[2, n, 4]`: the first layer holds the class in one channel of a large scale, the second nothing.
    fn pictures(count: i64) -> (Tensor, Tensor) {
        let labels = Tensor::randint(3, [count], (Kind::Int64, Device::Cpu));
        let noise = Tensor::randn([2, count, 4], (Kind::Float, Device::Cpu));
        let told = labels.one_hot(4).to_kind(Kind::Float) * 500.0 + 300.0;
        let _ = noise.get(0).g_add_(&told);
        (noise, labels)
    }

    #[test]
    fn what_a_layer_holds_is_found_and_what_it_lacks_is_not() {
        tch::manual_seed(3);
        let (train, labels) = pictures(600);
        let mut probes = LinearProbes::new(2, 4, 3, &config(&[1e-6, 0.1]));
        probes.plan(60);
        probes.measure(&train);
        for _ in 0..60 {
            probes.train(&train, &labels);
        }
        let (asked, wanted) = pictures(300);
        let best = probes.best_rates(&asked, &wanted);
        let right = probes.predict(&asked).eq_tensor(&wanted);
        let share = |layer: i64, rate: i64| {
            right
                .get(layer)
                .get(rate)
                .mean(Kind::Float)
                .double_value(&[])
        };
        assert!(
            share(0, best[0] as i64) > 0.99,
            "{}",
            share(0, best[0] as i64)
        );
        assert!(
            share(1, best[1] as i64) < 0.5,
            "{}",
            share(1, best[1] as i64)
        );
    }

    /// The written-out gradient equals autograd's, and a step follows it.
    #[test]
    fn a_step_is_the_gradient_of_the_mean_cross_entropy() {
        tch::manual_seed(4);
        let (train, labels) = pictures(50);
        let mut probes = LinearProbes::new(2, 4, 3, &config(&[0.5]));
        probes.measure(&train);
        let x = probes.standardised(&train);
        let weights = Tensor::zeros([2, 4, 3], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let losses = (0..2).map(|layer| {
            let scores = x.get(layer).matmul(&weights.get(layer));
            scores.cross_entropy_for_logits(&labels)
        });
        let loss: Tensor = losses.sum();
        loss.backward();
        probes.train(&train, &labels);
        let wanted = weights.grad() * -0.5;
        assert!(probes.weights[0].allclose(&wanted, 1e-5, 1e-6, false));
        // The rates' columns stay apart.
        let mut two = LinearProbes::new(2, 4, 3, &config(&[0.5, 0.25]));
        two.measure(&train);
        two.train(&train, &labels);
        let columns = two.weights[0].view([2, 4, 2, 3]);
        assert!(columns.select(2, 0).allclose(&wanted, 1e-5, 1e-6, false));
        assert!((columns.select(2, 1) * 2.0).allclose(&wanted, 1e-5, 1e-6, false));
    }
}

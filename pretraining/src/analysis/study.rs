//! From observations to results: what is kept of the pictures that are looked at, and what those that teach do to
//! it as they stream by.

use engine::step_seed;
use tch::{Device, Kind, Tensor};

use super::attention::AttentionMeasures;
use super::linear::{LinearConfig, LinearProbes};
use super::neighbours::Neighbours;
use super::observe::TrunkObservation;
use super::rank::effective_rank;

/// One in so many training pictures is held out.
const HELD_OUT_SHARE: u64 = 10;

/// A trunk's layers on the pictures that are looked at.
#[derive(Debug)]
pub struct Study {
    layers: usize,
    heads: usize,
    width: usize,
    /// Layer by layer within each picture.
    features: Vec<f32>,
    labels: Vec<i64>,
    attention: Option<AttentionProfile>,
}

/// Averages over pictures of what heads attend to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AttentionProfile {
    pictures: usize,
    /// Sums of the fields of [`AttentionMeasures`], in their order.
    sums: [Vec<f64>; 6],
    /// Of each picture the mean over a layer's heads, or pairs of heads: distance, entropy, divergence, cosine;
    /// layer by layer within each picture.
    of_pictures: [Vec<f64>; 4],
}

impl Study {
    /// Of a trunk of so many layers, heads and channels.
    pub fn new(layers: usize, heads: usize, width: usize) -> Self {
        Self {
            layers,
            heads,
            width,
            features: Vec::new(),
            labels: Vec::new(),
            attention: None,
        }
    }

    /// Adds a picture.
    pub fn add(&mut self, label: i64, observed: &TrunkObservation) {
        self.features.extend(&observed.features);
        self.labels.push(label);
        if let Some(measures) = &observed.attention {
            let heads = self.heads;
            self.attention.get_or_insert_default().add(measures, heads);
        }
    }

    /// Channels of a token.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Layers of the trunk.
    pub fn layers(&self) -> usize {
        self.layers
    }

    /// Whether all features so far are numbers.
    pub fn is_finite(&self) -> bool {
        self.features.iter().all(|number| number.is_finite())
    }

    /// Pictures so far.
    pub fn pictures(&self) -> usize {
        self.labels.len()
    }

    /// Their classes, -1 where unknown.
    pub fn labels(&self) -> &[i64] {
        &self.labels
    }

    /// Features of all of them, `[layers, n, C]`.
    pub fn features(&self) -> Tensor {
        stacked(&self.features, self.layers, self.width)
    }

    /// The effective rank of each layer's features.
    pub fn ranks(&self) -> Vec<f64> {
        let features = self.features();
        (0..self.layers as i64)
            .map(|layer| effective_rank(&features.get(layer)))
            .collect()
    }

    /// Averages of attention, where it was measured.
    pub fn attention(&self) -> Option<&AttentionProfile> {
        self.attention.as_ref()
    }
}

impl AttentionProfile {
    fn add(&mut self, measures: &AttentionMeasures, heads: usize) {
        let fields = [
            &measures.distance,
            &measures.entropy,
            &measures.head_divergence,
            &measures.head_cosine,
            &measures.layer_divergence,
            &measures.layer_cosine,
        ];
        for (sums, values) in self.sums.iter_mut().zip(fields) {
            sums.resize(values.len(), 0.0);
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum += f64::from(*value);
            }
        }
        let [distance, entropy, divergence, cosine] = &mut self.of_pictures;
        for (list, values) in [(distance, fields[0]), (entropy, fields[1])] {
            list.extend(
                values
                    .chunks(heads)
                    .map(|layer| mean(layer.iter().copied())),
            );
        }
        for (list, values) in [(divergence, fields[2]), (cosine, fields[3])] {
            let of_layers = values.chunks(heads * heads);
            list.extend(of_layers.map(|layer| mean(pairs(layer, heads))));
        }
        self.pictures += 1;
    }

    fn averages(&self, field: usize, rows: usize) -> Vec<Vec<f64>> {
        let averages: Vec<f64> = self.sums[field]
            .iter()
            .map(|sum| sum / self.pictures as f64)
            .collect();
        averages
            .chunks((averages.len() / rows).max(1))
            .map(<[f64]>::to_vec)
            .collect()
    }

    fn layers(&self) -> usize {
        (self.sums[4].len() as f64).sqrt().round() as usize
    }

    /// Mean attention distance in pixels, `[layers][heads]`.
    pub fn distance(&self) -> Vec<Vec<f64>> {
        self.averages(0, self.layers())
    }

    /// Entropy in nats, `[layers][heads]`.
    pub fn entropy(&self) -> Vec<Vec<f64>> {
        self.averages(1, self.layers())
    }

    /// Divergence of heads within each layer, `[layers][heads * heads]`.
    pub fn head_divergence(&self) -> Vec<Vec<f64>> {
        self.averages(2, self.layers())
    }

    /// Cosine of heads within each layer, `[layers][heads * heads]`.
    pub fn head_cosine(&self) -> Vec<Vec<f64>> {
        self.averages(3, self.layers())
    }

    /// Divergence of the layers' mean maps.
    pub fn layer_divergence(&self) -> Vec<Vec<f64>> {
        self.averages(4, self.layers())
    }

    /// Cosine of layers.
    pub fn layer_cosine(&self) -> Vec<Vec<f64>> {
        self.averages(5, self.layers())
    }

    /// Of each picture, a layer's mean over heads or different heads: distance, entropy, divergence and cosine,
    /// `[layers][pictures]` each. With one head there are no pairs, and the last two are NaN.
    pub fn of_pictures(&self) -> [Vec<Vec<f64>>; 4] {
        let layers = self.layers();
        self.of_pictures.each_ref().map(|values| {
            (0..layers)
                .map(|layer| values.iter().skip(layer).step_by(layers).copied().collect())
                .collect()
        })
    }
}

/// The pictures that teach about one trunk, as they stream by: votes of neighbours, and linear classifiers.
///
/// At first sight ([`Teaching::meet`]) neighbours vote, features are measured and some pictures are kept out; those
/// that are not train at every further sight ([`Teaching::teach`]).
#[derive(Debug)]
pub struct Teaching {
    neighbours: Vec<Neighbours>,
    linear: LinearProbes,
    layers: usize,
    width: usize,
    batch: usize,
    /// Held out: features layer by layer within each picture, and classes.
    held_out: (Vec<f32>, Vec<i64>),
    most_held_out: usize,
    waiting: (Vec<f32>, Vec<i64>),
}

impl Teaching {
    /// For the pictures of `study`, on which `voters` neighbours vote.
    pub fn new(study: &Study, voters: i64, config: &LinearConfig, classes: usize) -> Self {
        let features = study.features();
        let (layers, width) = (study.layers, study.width);
        Self {
            neighbours: (0..layers as i64)
                .map(|layer| Neighbours::new(&features.get(layer), voters))
                .collect(),
            linear: LinearProbes::new(layers as i64, width as i64, classes as i64, config),
            layers,
            width,
            batch: config.batch_size,
            held_out: Default::default(),
            most_held_out: config.held_out,
            waiting: Default::default(),
        }
    }

    /// A picture of known class at first sight. Says whether it is one of those that train; that is the same for
    /// all trunks.
    pub fn meet(&mut self, name: &str, label: i64, features: &[f32]) -> bool {
        let kept_out = self.held_out.1.len() < self.most_held_out && is_held_out(name);
        if kept_out {
            self.held_out.0.extend(features);
            self.held_out.1.push(label);
        }
        self.waiting.0.extend(features);
        self.waiting.1.push(label);
        if self.waiting.1.len() == self.batch {
            self.met();
        }
        !kept_out
    }

    fn met(&mut self) {
        let Some((features, labels)) = self.taken() else {
            return;
        };
        self.linear.measure(&features);
        for (layer, neighbours) in (0..).zip(&mut self.neighbours) {
            neighbours.add(&features.get(layer), &labels);
        }
    }

    /// All have been met; `pictures` train, `epochs` times.
    pub fn begin_training(&mut self, pictures: usize, epochs: usize) {
        self.met();
        self.linear
            .plan((pictures.div_ceil(self.batch) * epochs) as u64);
    }

    /// A picture that trains.
    pub fn teach(&mut self, label: i64, features: &[f32]) {
        self.waiting.0.extend(features);
        self.waiting.1.push(label);
        if self.waiting.1.len() == self.batch {
            self.taught();
        }
    }

    /// The end of an epoch: the last pictures make a smaller step.
    pub fn end_epoch(&mut self) {
        self.taught();
    }

    fn taught(&mut self) {
        if let Some((features, labels)) = self.taken() {
            self.linear.train(&features, &labels);
        }
    }

    fn taken(&mut self) -> Option<(Tensor, Tensor)> {
        let (features, labels) = std::mem::take(&mut self.waiting);
        (!labels.is_empty()).then(|| {
            let features = stacked(&features, self.layers, self.width);
            (features, Tensor::from_slice(&labels))
        })
    }

    /// Whether the vote is right, `[layers][pictures]`, for those of known class in `study`. None where nothing voted.
    pub fn votes(&mut self, study: &Study, temperature: f64) -> Option<Vec<Vec<bool>>> {
        self.neighbours
            .iter_mut()
            .map(|neighbours| Some(right(&neighbours.vote(temperature)?, &study.labels)))
            .collect()
    }

    /// Pictures that were kept out.
    pub fn held_out(&self) -> usize {
        self.held_out.1.len()
    }

    /// Whether the linear probe is right, likewise, and the place of each layer's learning rate, which held-out
    /// pictures chose; the middle one where there are none.
    pub fn probes(&self, study: &Study) -> (Vec<Vec<bool>>, Vec<usize>) {
        let best = match self.held_out.1.is_empty() {
            true => vec![self.linear.rates() / 2; self.layers],
            false => {
                let features = stacked(&self.held_out.0, self.layers, self.width);
                let labels = Tensor::from_slice(&self.held_out.1);
                self.linear.best_rates(&features, &labels)
            }
        };
        let said = self.linear.predict(&study.features());
        let of_layer =
            |(layer, rate): (i64, &usize)| right(&said.get(layer).get(*rate as i64), &study.labels);
        let right = (0..).zip(&best).map(of_layer).collect();
        (right, best)
    }
}

/// Whether each class said is the picture's, without pictures of unknown class.
fn right(said: &Tensor, labels: &[i64]) -> Vec<bool> {
    (0..)
        .zip(labels)
        .filter(|(_, label)| **label >= 0)
        .map(|(at, label)| said.int64_value(&[at]) == *label)
        .collect()
}

/// The same pictures on every machine; which of them are the first so many depends on their order.
fn is_held_out(name: &str) -> bool {
    let hash = name
        .bytes()
        .fold(0, |hash, byte| step_seed(hash, byte.into()));
    hash.is_multiple_of(HELD_OUT_SHARE)
}

/// Numbers of pictures one after the other, `[n][layers, C]`, as `[layers, n, C]`.
fn stacked(numbers: &[f32], layers: usize, width: usize) -> Tensor {
    Tensor::from_slice(numbers)
        .to_kind(Kind::Float)
        .to_device(Device::Cpu)
        .view([-1, layers as i64, width as i64])
        .transpose(0, 1)
        .contiguous()
}

/// A head with each other one.
fn pairs(matrix: &[f32], heads: usize) -> impl Iterator<Item = f32> {
    (0..heads * heads)
        .filter(move |at| at / heads != at % heads)
        .map(|at| matrix[at])
}

/// NaN of nothing.
fn mean(values: impl Iterator<Item = f32>) -> f64 {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), value| {
        (sum + f64::from(value), count + 1)
    });
    sum / f64::from(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Observation;

    fn picture(name: &str, label: i64, features: [f32; 4]) -> Observation {
        Observation {
            name: name.to_owned(),
            label,
            trunks: vec![TrunkObservation {
                features: features.to_vec(),
                attention: None,
            }],
        }
    }

    /// Two layers of two channels: the first tells the classes apart, the second does not. A picture of unknown
    /// class does not count.
    #[test]
    fn layers_are_judged_one_by_one() {
        let of = |n: usize| {
            let label = (n % 2) as i64;
            let side = 1.0 - 2.0 * label as f32;
            let noise = ((n * 7919) % 13) as f32 - 6.0;
            picture(&format!("{n}.png"), label, [side, 0.1 * noise, noise, 1.0])
        };
        let mut study = Study::new(2, 1, 2);
        for n in 0..60 {
            let seen = of(n);
            study.add(seen.label, &seen.trunks[0]);
        }
        let unknown = picture("unknown.png", -1, [9.0; 4]);
        study.add(-1, &unknown.trunks[0]);
        let config = LinearConfig {
            batch_size: 16,
            ..LinearConfig::default()
        };
        let mut teaching = Teaching::new(&study, 5, &config, 2);
        let features = |n: usize| of(n).trunks[0].features.clone();
        let train: Vec<usize> = (100..300)
            .filter(|n| teaching.meet(&format!("{n}.png"), (n % 2) as i64, &features(*n)))
            .collect();
        teaching.begin_training(train.len(), config.epochs);
        for _ in 0..config.epochs {
            for n in &train {
                teaching.teach((n % 2) as i64, &features(*n));
            }
            teaching.end_epoch();
        }
        let share = |right: &[bool]| {
            assert_eq!(right.len(), 60);
            right.iter().filter(|right| **right).count()
        };
        assert!((5..=40).contains(&teaching.held_out.1.len()));
        let votes = teaching.votes(&study, 0.07).unwrap();
        let (probes, rates) = teaching.probes(&study);
        assert!(rates.len() == 2 && rates.iter().all(|rate| *rate < config.rates.len()));
        assert!(share(&votes[0]) == 60 && share(&probes[0]) == 60);
        assert!(share(&probes[1]) < 45, "{}", share(&probes[1]));
    }

    /// By hand: one layer, two heads, two pictures.
    #[test]
    fn averages_of_attention_are_over_pictures_and_pairs_of_different_heads() {
        let seen = |plus: f32| TrunkObservation {
            features: vec![0.0],
            attention: Some(AttentionMeasures {
                distance: vec![1.0 + plus, 3.0 + plus],
                entropy: vec![0.5, 0.5],
                head_divergence: vec![0.0, 2.0 + plus, 4.0, 0.0],
                head_cosine: vec![1.0, 0.25, 0.25, 1.0],
                layer_divergence: vec![0.0],
                layer_cosine: vec![1.0],
            }),
        };
        let mut study = Study::new(1, 2, 1);
        study.add(0, &seen(0.0));
        study.add(1, &seen(2.0));
        let attention = study.attention().unwrap();
        assert_eq!(attention.distance(), [[2.0, 4.0]]);
        assert_eq!(attention.head_divergence(), [[0.0, 3.0, 4.0, 0.0]]);
        let [distance, entropy, divergence, cosine] = attention.of_pictures();
        assert_eq!(distance, [[2.0, 4.0]]);
        assert_eq!(entropy, [[0.5, 0.5]]);
        assert_eq!(divergence, [[3.0, 4.0]]);
        assert_eq!(cosine, [[0.25, 0.25]]);
    }
}

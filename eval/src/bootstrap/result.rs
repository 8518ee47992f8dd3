//! What resampling says: intervals, differences, p-values.

use statrs::distribution::{ContinuousCDF, Normal};

use super::config::{BootstrapSize, IntervalMethod};

/// Below this share of defined resamples nothing is said about a score.
const DEFINED: f64 = 0.5;

/// A score with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The score on the images as they are; NaN where it is undefined.
    pub value: f64,
    /// Lower end; NaN where the score, or more than half of its resamples, is undefined.
    pub low: f64,
    /// Upper end, likewise.
    pub high: f64,
    /// Resamples in which the score was undefined; they are left out.
    pub undefined: usize,
}

impl Interval {
    /// Whether a number lies in the interval.
    pub fn covers(&self, number: f64) -> bool {
        self.low <= number && number <= self.high
    }

    /// The longer of the distances from the score to the two ends: the honest number after a ±.
    pub fn margin(&self) -> f64 {
        // Both ends are NaN or neither is.
        (self.high - self.value).max(self.value - self.low)
    }
}

/// How much one system's score exceeds another's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// The system.
    pub system: usize,
    /// The one that it is compared with.
    pub base: usize,
    /// Score of the system minus score of the base, with its interval; undefined where either is.
    pub interval: Interval,
    /// Two-sided p-value of no difference, this comparison taken alone; NaN where undefined.
    pub p_value: f64,
    /// The p-value adjusted for the comparisons made together ([`holm`]).
    pub adjusted_p_value: f64,
    /// Whether the adjusted p-value is at most one minus the confidence.
    pub significant: bool,
}

/// Scores of every system on the images and on every resample.
#[derive(Debug, Clone, PartialEq)]
pub struct Bootstrap {
    size: BootstrapSize,
    confidence: f64,
    /// One number per system and metric, a system's metrics side by side.
    point: Vec<f64>,
    /// The same order; one number per resample each.
    samples: Vec<Vec<f64>>,
    methods: Vec<IntervalMethod>,
    /// Those of differences.
    difference_methods: Vec<IntervalMethod>,
}

impl Bootstrap {
    /// `resampled` holds one row like `point` per resample.
    pub(super) fn new(
        size: BootstrapSize,
        confidence: f64,
        point: Vec<f64>,
        resampled: &[Vec<f64>],
    ) -> Self {
        let column = |at: usize| resampled.iter().map(|row| row[at]).collect();
        Self {
            size,
            confidence,
            samples: (0..point.len()).map(column).collect(),
            point,
            methods: vec![IntervalMethod::default(); size.metrics],
            difference_methods: vec![IntervalMethod::default(); size.metrics],
        }
    }

    /// Sets how a metric's intervals are read off; without it they are percentile intervals.
    ///
    /// # Panics
    /// When there is no such metric.
    #[must_use]
    pub fn with_method(mut self, metric: usize, method: IntervalMethod) -> Self {
        self.methods[metric] = method;
        self.difference_methods[metric] = method;
        self
    }

    /// Sets how the intervals of all scores are read off, and leaves those of differences: what resampling
    /// moves, it moves alike in two systems.
    #[must_use]
    pub fn with_score_method(mut self, method: IntervalMethod) -> Self {
        self.methods.fill(method);
        self
    }

    /// The same resamples of means over systems: one new system for each group of old ones, such as the
    /// trainings of one model with several seeds. A mean is undefined where one of its scores is.
    ///
    /// # Panics
    /// When a group is empty or names a system that is not there.
    #[must_use]
    pub fn means_of(&self, groups: &[Vec<usize>]) -> Self {
        let metrics = self.size.metrics;
        let mean = |group: &[usize], of: &dyn Fn(usize) -> f64| {
            group.iter().map(|&system| of(system)).sum::<f64>() / group.len() as f64
        };
        let mut point = Vec::with_capacity(groups.len() * metrics);
        let mut samples = Vec::with_capacity(groups.len() * metrics);
        for group in groups {
            assert!(!group.is_empty(), "a group has at least one system");
            for metric in 0..metrics {
                point.push(mean(group, &|system| self.value(system, metric)));
                let resampled = (0..self.resamples())
                    .map(|at| mean(group, &|system| self.resampled(system, metric)[at]));
                samples.push(resampled.collect());
            }
        }
        Self {
            size: BootstrapSize {
                systems: groups.len(),
                ..self.size
            },
            confidence: self.confidence,
            point,
            samples,
            methods: self.methods.clone(),
            difference_methods: self.difference_methods.clone(),
        }
    }

    /// Images, systems and metrics.
    pub fn size(&self) -> BootstrapSize {
        self.size
    }

    /// Share of intervals that are to cover the truth.
    pub fn confidence(&self) -> f64 {
        self.confidence
    }

    /// Number of resamples.
    pub fn resamples(&self) -> usize {
        self.samples.first().map_or(0, Vec::len)
    }

    /// The score of a system on the images as they are.
    ///
    /// # Panics
    /// When there is no such system or metric; so do the methods below.
    pub fn value(&self, system: usize, metric: usize) -> f64 {
        self.point[self.place(system, metric)]
    }

    /// The scores of a system in order of the resamples, NaN where undefined.
    pub fn resampled(&self, system: usize, metric: usize) -> &[f64] {
        &self.samples[self.place(system, metric)]
    }

    /// A score with its interval, which is widened to hold the score where resampling moved it further than
    /// the interval is wide.
    pub fn interval(&self, system: usize, metric: usize) -> Interval {
        let value = self.value(system, metric);
        let method = self.methods[metric];
        let samples = self.resampled(system, metric).iter().copied();
        let defined = in_order(method, value, samples);
        let mut interval = self.ends(value, &defined, shift(method, value, &defined));
        if !interval.low.is_nan() {
            interval.low = interval.low.min(value);
            interval.high = interval.high.max(value);
        }
        interval
    }

    /// A system against another, this comparison taken alone.
    pub fn compare(&self, system: usize, base: usize, metric: usize) -> Difference {
        let value = self.value(system, metric) - self.value(base, metric);
        let pairs = self
            .resampled(system, metric)
            .iter()
            .zip(self.resampled(base, metric))
            .map(|(a, b)| a - b);
        let method = self.difference_methods[metric];
        let defined = in_order(method, value, pairs);
        let shift = shift(method, value, &defined);
        let interval = self.ends(value, &defined, shift);
        let p_value = if interval.low.is_nan() {
            f64::NAN
        } else {
            two_sided(&defined, shift)
        };
        Difference {
            system,
            base,
            interval,
            p_value,
            adjusted_p_value: p_value,
            significant: self.is_significant(p_value),
        }
    }

    /// Every other system against one, judged together.
    pub fn against(&self, base: usize, metric: usize) -> Vec<Difference> {
        let others = (0..self.size.systems).filter(|&system| system != base);
        self.together(metric, others.map(|system| (system, base)))
    }

    /// Every system against every earlier one, judged together.
    pub fn all_pairs(&self, metric: usize) -> Vec<Difference> {
        let pairs = (0..self.size.systems)
            .flat_map(|base| (base + 1..self.size.systems).map(move |system| (system, base)));
        self.together(metric, pairs)
    }

    fn together(
        &self,
        metric: usize,
        pairs: impl Iterator<Item = (usize, usize)>,
    ) -> Vec<Difference> {
        let mut differences: Vec<Difference> = pairs
            .map(|(system, base)| self.compare(system, base, metric))
            .collect();
        let p_values: Vec<f64> = differences.iter().map(|d| d.p_value).collect();
        for (difference, adjusted) in differences.iter_mut().zip(holm(&p_values)) {
            difference.adjusted_p_value = adjusted;
            difference.significant = self.is_significant(adjusted);
        }
        differences
    }

    fn place(&self, system: usize, metric: usize) -> usize {
        assert!(
            system < self.size.systems && metric < self.size.metrics,
            "system {system} and metric {metric} of {:?}",
            self.size
        );
        system * self.size.metrics + metric
    }

    fn is_significant(&self, p_value: f64) -> bool {
        p_value <= 1.0 - self.confidence
    }

    /// `shift` is that of [`shift`].
    fn ends(&self, value: f64, defined: &[f64], shift: f64) -> Interval {
        let resamples = self.resamples();
        let known = !value.is_nan() && defined.len() as f64 >= DEFINED * resamples as f64;
        let tail = (1.0 - self.confidence) / 2.0;
        let end = |share: f64| {
            if known {
                quantile(defined, shifted(share, shift))
            } else {
                f64::NAN
            }
        };
        Interval {
            value,
            low: end(tail),
            high: end(1.0 - tail),
            undefined: resamples - defined.len(),
        }
    }
}

/// The defined resamples in ascending order, mirrored where the method says so.
fn in_order(method: IntervalMethod, value: f64, samples: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut samples: Vec<f64> = samples
        .map(|sample| match method {
            IntervalMethod::Percentile | IntervalMethod::BiasCorrected => sample,
            IntervalMethod::Basic => 2.0 * value - sample,
        })
        .filter(|sample| !sample.is_nan())
        .collect();
    samples.sort_by(f64::total_cmp);
    samples
}

/// By how many standard deviations of a normal distribution quantiles are shifted: twice the place of the
/// score among its resamples, where the method corrects for that.
fn shift(method: IntervalMethod, value: f64, sorted: &[f64]) -> f64 {
    if method != IntervalMethod::BiasCorrected || sorted.is_empty() {
        return 0.0;
    }
    let below = sorted.partition_point(|&sample| sample < value);
    let up_to = sorted.partition_point(|&sample| sample <= value);
    // Ties count half; a score beyond all of its resamples would shift by infinity.
    let share = (below + up_to + 1) as f64 / (2 * (sorted.len() + 1)) as f64;
    2.0 * Normal::standard().inverse_cdf(share)
}

/// Linear interpolation between the two nearest of the sorted samples (Hyndman and Fan's type 7).
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let place = share * last as f64;
    let below = sorted[place.floor() as usize];
    let above = sorted[(place.ceil() as usize).min(last)];
    // Equal neighbours (also infinite ones) need no arithmetic.
    if below == above {
        below
    } else {
        below + (above - below) * place.fract()
    }
}

/// The tail that zero cuts off, doubled: zero lies on the end of the interval of this confidence.
fn two_sided(sorted: &[f64], shift: f64) -> f64 {
    let at_most = sorted.partition_point(|&d| d <= 0.0);
    let at_least = sorted.len() - sorted.partition_point(|&d| d < 0.0);
    let tail = |count: usize| (count + 1) as f64 / (sorted.len() + 1) as f64;
    let rarer = shifted(tail(at_most), -shift).min(shifted(tail(at_least), shift));
    (2.0 * rarer).min(1.0)
}

/// A share of a distribution moved by so many standard deviations of a normal one.
fn shifted(share: f64, shift: f64) -> f64 {
    if shift == 0.0 || share >= 1.0 {
        return share;
    }
    let normal = Normal::standard();
    normal.cdf(normal.inverse_cdf(share) + shift)
}

/// Holm's adjustment of the p-values of comparisons that are judged together, in their own order.
/// The smallest is multiplied by their number, the next by one less, and so on; none falls below
/// one before it, and none exceeds 1. Undefined ones (NaN) stay so and do not count.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len())
        .filter(|&at| !p_values[at].is_nan())
        .collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut adjusted = vec![f64::NAN; p_values.len()];
    let mut floor = 0.0_f64;
    for (rank, &at) in order.iter().enumerate() {
        floor = floor.max(((order.len() - rank) as f64 * p_values[at]).min(1.0));
        adjusted[at] = floor;
    }
    adjusted
}

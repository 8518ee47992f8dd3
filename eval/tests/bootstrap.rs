//! The bootstrap: draws, intervals against theory, coverage in simulated data sets.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use deepmim_eval::{
    Bootstrap, BootstrapConfig, BootstrapSize, ClassOverlap, EvalError, ImageOverlaps, Interval,
    IntervalMethod, bootstrap, draw, holm,
};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn silent(_: u64, _: u64) {}

fn mean(values: &[f64], weights: &[u32]) -> f64 {
    let sum: f64 = values
        .iter()
        .zip(weights)
        .map(|(v, &w)| v * f64::from(w))
        .sum();
    sum / f64::from(weights.iter().sum::<u32>())
}

/// Bootstrap of the mean of each system's values.
fn means(systems: &[Vec<f64>], config: &BootstrapConfig) -> Bootstrap {
    let size = BootstrapSize {
        images: systems[0].len(),
        systems: systems.len(),
        metrics: 1,
    };
    bootstrap(
        size,
        config,
        |system, weights, scores| scores[0] = mean(&systems[system], weights),
        &silent,
    )
    .unwrap()
}

fn config(resamples: usize, seed: u64) -> BootstrapConfig {
    BootstrapConfig {
        resamples,
        seed,
        ..BootstrapConfig::default()
    }
}

/// 1 with the given probability.
fn coin(rng: &mut ChaCha8Rng, probability: f64) -> f64 {
    f64::from(u8::from(rng.random::<f64>() < probability))
}

/// Multiplicities of single images are binomial: over 400 resamples of 50 images, mean 1 and
/// variance 1 - 1/50.
#[test]
fn every_image_is_drawn_equally_often() {
    let mut totals = [0_u32; 50];
    let mut squares = 0.0;
    for index in 0..400 {
        let mut weights = [0; 50];
        draw(3, index, &mut weights);
        for (total, weight) in totals.iter_mut().zip(weights) {
            *total += weight;
            squares += (f64::from(weight) - 1.0).powi(2);
        }
    }
    // Chi-square of 49 degrees of freedom: 0.001 of it lies above 85.4.
    let chi: f64 = totals
        .iter()
        .map(|&t| (f64::from(t) - 400.0).powi(2) / 400.0)
        .sum();
    assert!(chi < 85.4, "chi-square {chi}");
    let variance = squares / (50.0 * 400.0);
    assert!((variance - 0.98).abs() < 0.04, "variance {variance}");
}

#[test]
fn draws_differ_between_seeds_and_resamples() {
    let weights = |seed, index| {
        let mut weights = vec![9; 100];
        draw(seed, index, &mut weights);
        weights
    };
    assert_eq!(weights(1, 2), weights(1, 2));
    assert_ne!(weights(1, 2), weights(1, 3));
    assert_ne!(weights(1, 2), weights(2, 2));
    draw(0, 0, &mut []);
}

/// The bootstrap standard error of a mean is sqrt(sum (x - mean)^2) / n, its percentile interval
/// 1.96 of these to either side.
#[test]
fn the_interval_of_a_mean_is_the_textbook_one() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let values: Vec<f64> = (0..2000).map(|_| coin(&mut rng, 0.8)).collect();
    let share = values.iter().sum::<f64>() / 2000.0;
    let deviation = (share * (1.0 - share) / 2000.0).sqrt();
    let boot = means(&[values], &config(4000, 1));
    let interval = boot.interval(0, 0);
    assert_eq!(interval.value, share);
    for (end, sign) in [(interval.low, -1.0), (interval.high, 1.0)] {
        let expected = share + sign * 1.959_964 * deviation;
        assert!(
            (end - expected).abs() < 0.1 * deviation,
            "{end} instead of {expected}"
        );
    }
    assert!(interval.covers(share) && !interval.covers(share + 3.0 * deviation));
}

/// How often nominal 95 % intervals of top-1 and of a paired difference cover the truth, and how
/// often systems of equal quality are told apart. Truth: 80 % each; per image both systems share
/// a difficulty, so their hits are strongly correlated.
#[test]
fn intervals_cover_the_truth_as_often_as_they_say() {
    const SETS: u64 = 400;
    let (mut single, mut paired, mut alarms) = (0, 0, 0);
    for set in 0..SETS {
        let mut rng = ChaCha8Rng::seed_from_u64(1000 + set);
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for _ in 0..300 {
            // Solved by both, by neither, or by one of them at random: 0.7 + 0.5 * 0.2 = 0.8.
            let kind: f64 = rng.random();
            let (a, b) = if kind < 0.7 {
                (1.0, 1.0)
            } else if kind < 0.9 {
                (coin(&mut rng, 0.5), coin(&mut rng, 0.5))
            } else {
                (0.0, 0.0)
            };
            left.push(a);
            right.push(b);
        }
        let boot = means(&[left, right], &config(1000, set));
        single += u32::from(boot.interval(0, 0).covers(0.8));
        let difference = boot.compare(1, 0, 0);
        paired += u32::from(difference.interval.covers(0.0));
        alarms += u32::from(difference.significant);
    }
    let share = |count: u32| f64::from(count) / SETS as f64;
    eprintln!(
        "top-1 {}, difference {}, false alarms {}",
        share(single),
        share(paired),
        share(alarms)
    );
    assert!((0.90..=0.98).contains(&share(single)), "{}", share(single));
    assert!((0.90..=0.98).contains(&share(paired)), "{}", share(paired));
    assert!(share(alarms) <= 0.08, "{}", share(alarms));
}

/// Turns the first so many hits into misses, and misses into hits.
fn flipped(base: &[f64], mut lost: usize, mut gained: usize) -> Vec<f64> {
    let flip = |&hit: &f64| {
        let left = if hit == 1.0 { &mut lost } else { &mut gained };
        let flips = *left > 0;
        *left -= usize::from(flips);
        if flips { 1.0 - hit } else { hit }
    };
    base.iter().map(flip).collect()
}

/// Pairing is what finds a small difference: alone, the two intervals overlap widely.
#[test]
fn a_true_difference_is_found_and_noise_is_not() {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let base: Vec<f64> = (0..5000).map(|_| coin(&mut rng, 0.83)).collect();
    // Another model of the same quality: 83 hits become misses and 75 misses hits. Under no
    // difference the balance of 158 changes has a standard deviation of 12.6.
    let noise: Vec<f64> = flipped(&base, 83, 75);
    // 1 % of all images more are solved.
    let better: Vec<f64> = base
        .iter()
        .map(|&hit| hit.max(coin(&mut rng, 0.01 / 0.17)))
        .collect();
    let boot = means(&[base, noise, better], &config(2000, 0));
    let differences = boot.against(0, 0);
    assert!(!differences[0].significant, "{:?}", differences[0]);
    assert!(differences[0].interval.covers(0.0));
    assert!(differences[1].significant, "{:?}", differences[1]);
    assert!(!differences[1].interval.covers(0.0));
    // The least that 2000 resamples can say, and Holm's factor of two.
    assert_eq!(differences[1].p_value, 2.0 / 2001.0);
    assert_eq!(differences[1].adjusted_p_value, 4.0 / 2001.0);
    assert!(boot.interval(0, 0).high > boot.interval(2, 0).low);
    assert_eq!(boot.all_pairs(0).len(), 3);
    let same = boot.compare(1, 1, 0);
    assert_eq!(
        (same.p_value, same.interval.low, same.interval.high),
        (1.0, 0.0, 0.0)
    );
    assert!(!same.significant);
}

/// By hand, Holm 1979: sorted 0.01 x 4, 0.02 x 3, 0.03 x 2, 0.6 x 1; the third must not fall below
/// the second.
#[test]
fn p_values_are_adjusted_by_hand() {
    let adjusted = holm(&[0.03, 0.01, f64::NAN, 0.6, 0.02]);
    let expected = [0.06, 0.04, f64::NAN, 0.6, 0.06];
    for (found, wanted) in adjusted.iter().zip(expected) {
        assert!((found - wanted).abs() < 1e-12 || (found.is_nan() && wanted.is_nan()));
    }
    assert_eq!(holm(&[0.7, 0.8]), [1.0, 1.0]);
    assert!(holm(&[]).is_empty());
}

/// Metric 0 is undefined where image 0 is not drawn (36.6 % of 20 images' resamples), metric 1
/// where it is drawn, metric 2 always.
#[test]
fn undefined_resamples_are_left_out_and_counted() {
    let size = BootstrapSize {
        images: 20,
        systems: 2,
        metrics: 3,
    };
    let boot = bootstrap(
        size,
        &config(1000, 0),
        |_, weights, scores| {
            scores[0] = if weights[0] > 0 {
                f64::from(weights[0])
            } else {
                f64::NAN
            };
            scores[1] = if weights[0] > 0 { f64::NAN } else { 1.0 };
            scores[2] = f64::NAN;
        },
        &silent,
    )
    .unwrap();
    let some = boot.interval(0, 0);
    assert!((300..420).contains(&some.undefined), "{}", some.undefined);
    assert_eq!(some.low, 1.0);
    assert!(some.high >= 2.0);
    // Undefined on the images as they are.
    assert!(boot.interval(0, 1).low.is_nan());
    let never = boot.compare(1, 0, 2);
    assert_eq!(never.interval.undefined, 1000);
    assert!(never.p_value.is_nan() && never.interval.high.is_nan() && !never.significant);
}

/// Mirrored at the score: what lies 0.1 above comes to lie 0.1 below.
#[test]
fn the_basic_interval_is_the_mirrored_one() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let values: Vec<f64> = (0..50).map(|_| rng.random::<f64>().powi(4)).collect();
    let percentile = means(&[values.clone(), vec![0.5; 50]], &config(500, 0));
    let basic = percentile.clone().with_method(0, IntervalMethod::Basic);
    let (p, b) = (percentile.interval(0, 0), basic.interval(0, 0));
    assert!((p.value - p.low - (b.high - b.value)).abs() < 1e-12);
    assert!((p.high - p.value - (b.value - b.low)).abs() < 1e-12);
    assert!((p.margin() - b.margin()).abs() < 1e-12);
    assert!(percentile.compare(0, 1, 0).significant && basic.compare(0, 1, 0).significant);
}

/// A score that resampling moves: the square of a mean is too large by the variance of the mean.
#[test]
fn the_bias_corrected_interval_is_shifted_back() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let values: Vec<f64> = (0..60).map(|_| rng.random::<f64>() - 0.5).collect();
    let size = BootstrapSize {
        images: values.len(),
        systems: 1,
        metrics: 1,
    };
    let score = |_: usize, weights: &[u32], scores: &mut [f64]| {
        let spread = weights.iter().filter(|weight| **weight == 0).count() as f64;
        scores[0] = mean(&values, weights) + 0.002 * spread;
    };
    let boot = bootstrap(size, &config(4000, 2), score, &silent).unwrap();
    let percentile = boot.interval(0, 0);
    let corrected = boot
        .clone()
        .with_score_method(IntervalMethod::BiasCorrected)
        .interval(0, 0);
    // About 22 of 60 pictures are not drawn, so every resample is some 0.044 too high.
    let middle = |interval: &Interval| (interval.low + interval.high) / 2.0;
    assert!(
        middle(&percentile) > percentile.value + 0.035,
        "{percentile:?}"
    );
    assert!(
        middle(&corrected) < middle(&percentile) - 0.05,
        "{corrected:?}"
    );
    // Where nothing is shifted, it is the percentile interval.
    let plain = means(&[values], &config(4000, 2));
    let (a, b) = (
        plain.interval(0, 0),
        plain
            .clone()
            .with_method(0, IntervalMethod::BiasCorrected)
            .interval(0, 0),
    );
    let width = a.high - a.low;
    assert!((a.low - b.low).abs() < 0.05 * width && (a.high - b.high).abs() < 0.05 * width);
    // Differences keep their method unless they are told, and nobody differs from himself.
    let shifted = boot.with_method(0, IntervalMethod::BiasCorrected);
    assert!(shifted.compare(0, 0, 0).p_value >= 0.99);
}

#[test]
fn means_over_systems_are_means_in_every_resample() {
    let systems = [
        vec![1.0, 0.0, 0.0, 1.0],
        vec![0.0, 0.0, 1.0, 1.0],
        vec![1.0; 4],
    ];
    let boot = means(&systems, &config(200, 4));
    let pooled = boot.means_of(&[vec![0, 1], vec![2]]);
    assert_eq!((pooled.size().systems, pooled.resamples()), (2, 200));
    assert_eq!((pooled.value(0, 0), pooled.value(1, 0)), (0.5, 1.0));
    for (at, mean) in pooled.resampled(0, 0).iter().enumerate() {
        let (a, b) = (boot.resampled(0, 0)[at], boot.resampled(1, 0)[at]);
        assert!((mean - (a + b) / 2.0).abs() < 1e-12);
    }
}

#[test]
fn what_cannot_be_resampled_is_said() {
    let ask = |config: &BootstrapConfig, images: usize| {
        let size = BootstrapSize {
            images,
            systems: 1,
            metrics: 1,
        };
        let error: EvalError = bootstrap(size, config, |_, _, _| (), &silent).unwrap_err();
        error.to_string()
    };
    assert_eq!(
        ask(&config(99, 0), 1),
        "bootstrap: 99 resamples were asked for: use 100 to 1000000, 1000 or more for p-values"
    );
    assert!(ask(&config(usize::MAX, 0), 1).contains("use 100 to 1000000"));
    for confidence in [0.0, 1.0, f64::NAN] {
        let config = BootstrapConfig {
            confidence,
            ..config(100, 0)
        };
        assert!(ask(&config, 1).contains("use one between 0 and 1"));
    }
    assert_eq!(
        ask(&config(100, 0), 0),
        "bootstrap: there is nothing to resample (0 images, 1 systems, 1 metrics)"
    );
    assert!(ask(&config(100, 0), 1 << 40).contains("more than can be resampled"));
    let size = BootstrapSize {
        images: 1,
        systems: 1 << 20,
        metrics: 1 << 50,
    };
    let error = bootstrap(size, &config(100, 0), |_, _, _| (), &silent).unwrap_err();
    assert!(
        error.to_string().contains("do not fit in memory"),
        "{error}"
    );
}

#[test]
fn progress_reaches_the_end_once() {
    let ends = std::sync::atomic::AtomicU64::new(0);
    let size = BootstrapSize {
        images: 3,
        systems: 1,
        metrics: 1,
    };
    let progress = |done: u64, all: u64| {
        assert_eq!(all, 150);
        if done == all {
            ends.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    };
    bootstrap(
        size,
        &config(150, 0),
        |_, _, scores| scores[0] = 0.0,
        &progress,
    )
    .unwrap();
    assert_eq!(ends.into_inner(), 1);
}

proptest! {
    #[test]
    fn weights_sum_to_the_number_of_images(seed: u64, index: u64, images in 1_usize..400) {
        let mut weights = vec![7; images];
        draw(seed, index, &mut weights);
        prop_assert_eq!(weights.iter().map(|&w| w as usize).sum::<usize>(), images);
    }

    #[test]
    fn threads_change_nothing(seed: u64, values in prop::collection::vec(-1e3..1e3_f64, 1..50)) {
        let systems = [values.clone(), values.iter().map(|v| v * v).collect()];
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| means(&systems, &config(100, seed)))
        };
        prop_assert_eq!(on(1), on(3));
    }

    #[test]
    fn adjusted_p_values_never_fall(p_values in prop::collection::vec(0.0..1.0_f64, 0..12)) {
        for (raw, adjusted) in p_values.iter().zip(holm(&p_values)) {
            prop_assert!(*raw <= adjusted && adjusted <= 1.0);
        }
    }
}

/// By hand, three classes; image 1 has class 2 alone. With weights 1, 1: class 0 has 6 / 10,
/// class 1 has 2 / 6, class 2 has 0 / 4.
#[test]
fn mean_iou_of_weighted_images_by_hand() {
    let area = |class, intersection, predicted, labelled| ClassOverlap {
        class,
        intersection,
        predicted,
        labelled,
    };
    let mut overlaps = ImageOverlaps::new(4);
    overlaps.add([area(0, 6, 8, 8), area(1, 2, 4, 4)]).unwrap();
    overlaps.add([area(2, 0, 0, 4)]).unwrap();
    let close = |found: f64, expected: f64| {
        assert!(
            (found - expected).abs() < 1e-12,
            "{found} instead of {expected}"
        );
    };
    let both = overlaps.scores(&[1, 1]);
    close(both.mean_iou, (0.6 + 1.0 / 3.0 + 0.0) / 3.0);
    close(both.mean_accuracy, (0.75 + 0.5 + 0.0) / 3.0);
    close(both.pixel_accuracy, 8.0 / 16.0);
    // A class that no counted image has leaves the mean.
    let first = overlaps.scores(&[3, 0]);
    close(first.mean_iou, (0.6 + 1.0 / 3.0) / 2.0);
    close(overlaps.scores(&[1, 3]).pixel_accuracy, 8.0 / 24.0);
    assert!(overlaps.scores(&[0, 0]).mean_iou.is_nan());
    let before = overlaps.clone();
    for wrong in [area(4, 0, 1, 1), area(0, 2, 1, 3)] {
        let error = overlaps.add([area(0, 1, 1, 1), wrong]).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("bootstrap: image 2 cannot be scored"),
            "{error}"
        );
        assert_eq!(overlaps, before);
    }
}

//! Learning-rate schedules, set before every iteration from the fractional epoch or the step.
//!
//! Source: facebookresearch/mae `util/lr_sched.py` and the `blr` rule of its `main_*.py`;
//! detectron2 `solver/lr_scheduler.py` (`WarmupParamScheduler`) over fvcore's
//! `MultiStepParamScheduler`; mmcv 1.x `runner/hooks/lr_updater.py` (`PolyLrUpdaterHook`) and mmengine
//! `optim/scheduler/param_scheduler.py` (`PolyParamScheduler` behind `LinearParamScheduler`).

use serde::{Deserialize, Serialize};

use crate::EngineError;

/// Batch size that `base_lr` refers to (Goyal et al. 2017's linear scaling rule, as in MAE).
const BASE_BATCH: f64 = 256.0;

/// How the learning rate runs over a training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "shape", rename_all = "snake_case", deny_unknown_fields)]
pub enum ScheduleConfig {
    /// Linear warm-up from 0, then half a cosine down to `min_lr`.
    Cosine {
        /// Learning rate per 256 samples of the effective batch. Give this or `lr`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        base_lr: Option<f64>,
        /// The learning rate itself, whatever the batch. Give this or `base_lr`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lr: Option<f64>,
        /// Learning rate at the end of the last epoch, absolute.
        #[serde(default)]
        min_lr: f64,
        /// Length of the warm-up in epochs; may be a fraction.
        #[serde(default)]
        warmup_epochs: f64,
    },
    /// Linear warm-up, then the full rate, lowered at each milestone. Counted in optimiser steps,
    /// as detectron2's recipes are, whatever the length of an epoch.
    MultiStep {
        /// Learning rate per 256 samples of the effective batch. Give this or `lr`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        base_lr: Option<f64>,
        /// The learning rate itself, whatever the batch. Give this or `base_lr`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lr: Option<f64>,
        /// Steps before which the rate is multiplied by `gamma` (again), in rising order; step 0
        /// is the first.
        milestones: Vec<u64>,
        /// Factor at each milestone.
        #[serde(default = "tenth")]
        gamma: f64,
        /// Length of the warm-up in steps.
        #[serde(default)]
        warmup_steps: u64,
        /// Share of the rate at which the warm-up begins.
        #[serde(default = "thousandth")]
        warmup_factor: f64,
    },
    /// Linear warm-up while the rate falls as a power of the steps that are left, to `min_lr` in step
    /// `steps`. Counted in optimiser steps, as mmsegmentation's recipes are.
    Poly {
        /// Learning rate per 256 samples of the effective batch. Give this or `lr`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        base_lr: Option<f64>,
        /// The learning rate itself, whatever the batch. Give this or `base_lr`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lr: Option<f64>,
        /// Length of the whole schedule in steps; the last rate holds from there on.
        steps: u64,
        /// 1 falls along a straight line.
        #[serde(default = "one")]
        power: f64,
        /// Learning rate at the end, absolute.
        #[serde(default)]
        min_lr: f64,
        /// Length of the warm-up in steps.
        #[serde(default)]
        warmup_steps: u64,
        /// Share of the rate at which the warm-up begins.
        #[serde(default = "thousandth")]
        warmup_factor: f64,
        /// The rate begins to fall after the warm-up, as in mmsegmentation 1.x, not in step 0, as in
        /// 0.x.
        #[serde(default)]
        falls_after_warmup: bool,
    },
}

fn one() -> f64 {
    1.0
}
fn tenth() -> f64 {
    0.1
}
fn thousandth() -> f64 {
    0.001
}

impl ScheduleConfig {
    /// The schedule for a run of `epochs` with `effective_batch` samples per optimiser step.
    ///
    /// # Errors
    /// When not exactly one of `base_lr` and `lr` is given, or a number is out of range.
    pub fn resolve(&self, effective_batch: usize, epochs: u64) -> Result<Schedule, EngineError> {
        let refuse = |what: String| Err(EngineError::Config(format!("schedule: {what}")));
        let (Self::Cosine { base_lr, lr, .. }
        | Self::MultiStep { base_lr, lr, .. }
        | Self::Poly { base_lr, lr, .. }) = self;
        let peak = match (base_lr, lr) {
            (Some(base), None) => base * effective_batch as f64 / BASE_BATCH,
            (None, Some(lr)) => *lr,
            _ => {
                return refuse("give exactly one of base_lr (per 256 samples) and lr".into());
            }
        };
        if !(peak.is_finite() && peak > 0.0) {
            return refuse(format!("the learning rate is {peak}; it must be above 0"));
        }
        match self {
            Self::Cosine {
                min_lr,
                warmup_epochs,
                ..
            } => {
                if !(min_lr.is_finite() && *min_lr >= 0.0) {
                    return refuse(format!("min_lr is {min_lr}; it must be 0 or more"));
                }
                let last = epochs as f64;
                if !(warmup_epochs.is_finite() && (0.0..=last).contains(warmup_epochs)) {
                    return refuse(format!(
                        "warmup_epochs is {warmup_epochs}; it must lie between 0 and epochs, {epochs}"
                    ));
                }
                Ok(Schedule::Cosine {
                    peak,
                    min: *min_lr,
                    warmup: *warmup_epochs,
                    epochs: last,
                })
            }
            Self::MultiStep {
                milestones,
                gamma,
                warmup_steps,
                warmup_factor,
                ..
            } => {
                let rising = milestones.windows(2).all(|pair| pair[0] < pair[1]);
                if !rising || milestones.first().is_some_and(|first| first < warmup_steps) {
                    return refuse(format!(
                        "milestones are {milestones:?}; they must rise and none may lie in the warm-up of {warmup_steps} steps"
                    ));
                }
                if !(gamma.is_finite() && *gamma > 0.0) {
                    return refuse(format!("gamma is {gamma}; it must be above 0"));
                }
                check_warmup_factor(*warmup_factor)?;
                Ok(Schedule::MultiStep {
                    peak,
                    milestones: milestones.clone(),
                    gamma: *gamma,
                    warmup: *warmup_steps,
                    warmup_factor: *warmup_factor,
                })
            }
            Self::Poly {
                steps,
                power,
                min_lr,
                warmup_steps,
                warmup_factor,
                falls_after_warmup,
                ..
            } => {
                if warmup_steps >= steps {
                    return refuse(format!(
                        "steps is {steps}; it must be more than the warm-up of {warmup_steps} steps"
                    ));
                }
                if !(power.is_finite() && *power > 0.0) {
                    return refuse(format!("power is {power}; it must be above 0"));
                }
                if !(min_lr.is_finite() && (0.0..=peak).contains(min_lr)) {
                    return refuse(format!(
                        "min_lr is {min_lr}; it must lie between 0 and the learning rate, {peak}"
                    ));
                }
                check_warmup_factor(*warmup_factor)?;
                Ok(Schedule::Poly {
                    peak,
                    min: *min_lr,
                    power: *power,
                    steps: *steps,
                    warmup: *warmup_steps,
                    warmup_factor: *warmup_factor,
                    falls_after_warmup: *falls_after_warmup,
                })
            }
        }
    }
}

fn check_warmup_factor(factor: f64) -> Result<(), EngineError> {
    if (0.0..=1.0).contains(&factor) {
        return Ok(());
    }
    Err(EngineError::Config(format!(
        "schedule: warmup_factor is {factor}; it must lie between 0 and 1"
    )))
}

/// A schedule with all numbers known.
#[derive(Debug, Clone, PartialEq)]
pub enum Schedule {
    /// Linear warm-up from 0 to `peak` over `warmup` epochs, then half a cosine to `min` at
    /// `epochs`.
    Cosine {
        /// Highest learning rate.
        peak: f64,
        /// Learning rate at the end.
        min: f64,
        /// Warm-up length in epochs.
        warmup: f64,
        /// Length of the whole schedule in epochs.
        epochs: f64,
    },
    /// Linear warm-up from `warmup_factor * peak` to `peak` over `warmup` steps, then `peak` times
    /// `gamma` for each milestone reached.
    MultiStep {
        /// Highest learning rate.
        peak: f64,
        /// First steps with a lower rate.
        milestones: Vec<u64>,
        /// Factor per milestone.
        gamma: f64,
        /// Warm-up length in steps.
        warmup: u64,
        /// Share of `peak` in step 0.
        warmup_factor: f64,
    },
    /// `(peak - min) * (1 - progress)^power + min`, times a factor that rises from `warmup_factor` to 1
    /// over `warmup` steps.
    Poly {
        /// Highest learning rate.
        peak: f64,
        /// Learning rate at the end.
        min: f64,
        /// Exponent.
        power: f64,
        /// Length of the whole schedule in steps.
        steps: u64,
        /// Warm-up length in steps.
        warmup: u64,
        /// Factor in step 0.
        warmup_factor: f64,
        /// Progress counts from the end of the warm-up.
        falls_after_warmup: bool,
    },
}

impl Schedule {
    /// The learning rate, before any parameter's own scale, of optimiser step `step` (from 0 over
    /// the whole run), which begins at the fractional epoch `epoch`.
    pub fn lr(&self, epoch: f64, step: u64) -> f64 {
        match self {
            &Self::Cosine {
                peak,
                min,
                warmup,
                epochs,
            } => {
                if epoch < warmup {
                    peak * epoch / warmup
                } else {
                    let progress = (epoch - warmup) / (epochs - warmup);
                    min + (peak - min) * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
                }
            }
            Self::MultiStep {
                peak,
                milestones,
                gamma,
                warmup,
                warmup_factor,
            } => {
                if step < *warmup {
                    let progress = step as f64 / *warmup as f64;
                    peak * (warmup_factor * (1.0 - progress) + progress)
                } else {
                    let reached = milestones.iter().filter(|&&first| first <= step).count();
                    peak * gamma.powi(reached as i32)
                }
            }
            &Self::Poly {
                peak,
                min,
                power,
                steps,
                warmup,
                warmup_factor,
                falls_after_warmup,
            } => {
                // mmengine reaches the end of warm-up and fall in the last step of each, mmcv one later.
                let (from, early) = match falls_after_warmup {
                    true => (warmup, 1),
                    false => (0, 0),
                };
                let last = (steps - from - early).max(1);
                let passed = step.saturating_sub(from).min(last);
                let left = 1.0 - passed as f64 / last as f64;
                let rate = (peak - min) * left.powf(power) + min;
                if step >= warmup {
                    return rate;
                }
                let last = warmup - early;
                let progress = step as f64 / last.max(1) as f64;
                rate * (warmup_factor * (1.0 - progress) + progress)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cosine(base_lr: f64, min_lr: f64, warmup_epochs: f64) -> ScheduleConfig {
        ScheduleConfig::Cosine {
            base_lr: Some(base_lr),
            lr: None,
            min_lr,
            warmup_epochs,
        }
    }

    /// `train_lr` of DeepMIM's released fine-tuning log: the mean over an epoch's 1251 iterations
    /// of the largest group rate; blr 1e-4, batch 1024, 5 warm-up epochs of 100, min 1e-6.
    #[test]
    fn published_fine_tuning_rates_come_out() {
        let schedule = cosine(1e-4, 1e-6, 5.0).resolve(1024, 100).unwrap();
        for (epoch, wanted) in [
            (0, 3.996802557953637e-05),
            (1, 1.1996802557953639e-04),
            (2, 1.9996802557953645e-04),
            (97, 1.690670647241739e-06),
            (98, 1.2546010239011438e-06),
            (99, 1.0364033190494477e-06),
        ] {
            let sum: f64 = (0..1251)
                .map(|i| schedule.lr(i as f64 / 1251.0 + f64::from(epoch), 0))
                .sum();
            let got = sum / 1251.0;
            assert!(
                ((got - wanted) / wanted).abs() < 1e-9,
                "epoch {epoch}: {got:e} instead of {wanted:e}"
            );
        }
    }

    /// Recorded from facebookresearch/mae `util/lr_sched.py`; see the folder's README.
    #[test]
    fn every_recorded_cosine_matches() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../parity/golden/augment/schedule_cosine.json"
        );
        let table: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let cases = table["cases"].as_array().unwrap();
        assert!(!cases.is_empty());
        for case in cases {
            let number = |key: &str| case[key].as_f64().unwrap();
            let schedule = Schedule::Cosine {
                peak: number("lr"),
                min: number("min_lr"),
                warmup: number("warmup_epochs"),
                epochs: number("epochs"),
            };
            let per_epoch = number("iters_per_epoch");
            let wanted = case["lr_per_iteration"].as_array().unwrap();
            assert_eq!(wanted.len() as f64, per_epoch * number("epochs"));
            for (i, wanted) in wanted.iter().enumerate() {
                let got = schedule.lr(i as f64 / per_epoch, i as u64);
                let wanted = wanted.as_f64().unwrap();
                assert!(
                    (got - wanted).abs() <= 1e-12 * wanted.abs().max(1e-9),
                    "iteration {i}: {got:e} instead of {wanted:e}"
                );
            }
        }
    }

    /// Recorded from detectron2's scheduler, ViTDet's 184,375 iterations among them.
    #[test]
    fn every_recorded_multi_step_matches() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../parity/golden/augment/schedule_multistep.json"
        );
        let table: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let cases = table["cases"].as_array().unwrap();
        assert!(!cases.is_empty());
        for case in cases {
            let whole = |value: &serde_json::Value| value.as_u64().unwrap();
            let config = ScheduleConfig::MultiStep {
                base_lr: None,
                lr: Some(1.0),
                milestones: case["milestones"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(whole)
                    .collect(),
                gamma: case["values"][1].as_f64().unwrap(),
                warmup_steps: whole(&case["warmup_iters"]),
                warmup_factor: case["warmup_factor"].as_f64().unwrap(),
            };
            let schedule = config.resolve(64, 1).unwrap();
            let steps = case["iterations"].as_array().unwrap();
            let wanted = case["multiplier"].as_array().unwrap();
            assert_eq!(steps.len(), wanted.len());
            for (step, wanted) in steps.iter().zip(wanted) {
                let got = schedule.lr(f64::NAN, whole(step));
                assert!(
                    (got - wanted.as_f64().unwrap()).abs() <= 1e-12,
                    "step {step}: {got:e} instead of {wanted}"
                );
            }
        }
    }

    /// Recorded from mmengine's schedulers (the rate falls after the warm-up), and the formula of the
    /// older mmcv's hook, by which DeepMIM's segmentation was trained.
    #[test]
    fn every_recorded_poly_matches() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../parity/golden/augment/schedule_poly.json"
        );
        let table: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let cases = table["cases"].as_array().unwrap();
        assert!(!cases.is_empty());
        for case in cases {
            let number = |key: &str| case[key].as_f64().unwrap();
            let whole = |key: &str| case[key].as_u64().unwrap();
            for (column, falls_after_warmup) in [
                ("lr_per_iteration_mmengine", true),
                ("lr_per_iteration_mmcv1_formula", false),
            ] {
                let config = ScheduleConfig::Poly {
                    base_lr: None,
                    lr: Some(number("lr")),
                    steps: whole("max_iters"),
                    power: number("power"),
                    min_lr: number("min_lr"),
                    warmup_steps: whole("warmup_iters"),
                    warmup_factor: number("warmup_ratio"),
                    falls_after_warmup,
                };
                let schedule = config.resolve(16, 1).unwrap();
                let wanted = case[column].as_array().unwrap();
                assert_eq!(wanted.len() as u64, whole("max_iters"));
                for (step, wanted) in (0..).zip(wanted) {
                    let wanted = wanted.as_f64().unwrap();
                    let got = schedule.lr(f64::NAN, step);
                    assert!(
                        (got - wanted).abs() <= 1e-12 * number("lr"),
                        "{column}, step {step}: {got:e} instead of {wanted:e}"
                    );
                }
            }
        }
    }

    #[test]
    fn impossible_schedules_are_refused() {
        assert!(cosine(0.0, 0.0, 0.0).resolve(256, 10).is_err());
        assert!(cosine(f64::NAN, 0.0, 0.0).resolve(256, 10).is_err());
        assert!(cosine(1e-4, -1.0, 0.0).resolve(256, 10).is_err());
        assert!(cosine(1e-4, 0.0, 11.0).resolve(256, 10).is_err());
        let both = ScheduleConfig::Cosine {
            base_lr: Some(1.0),
            lr: Some(1.0),
            min_lr: 0.0,
            warmup_epochs: 0.0,
        };
        assert!(both.resolve(256, 10).is_err());
        let steps = |milestones: &[u64], gamma| ScheduleConfig::MultiStep {
            base_lr: None,
            lr: Some(1e-4),
            milestones: milestones.to_vec(),
            gamma,
            warmup_steps: 5,
            warmup_factor: 0.001,
        };
        assert!(steps(&[10, 20], 0.1).resolve(64, 1).is_ok());
        assert!(steps(&[20, 10], 0.1).resolve(64, 1).is_err());
        assert!(steps(&[4, 10], 0.1).resolve(64, 1).is_err());
        assert!(steps(&[10], 0.0).resolve(64, 1).is_err());
    }

    #[test]
    fn a_misspelt_key_is_refused() {
        let good = "shape = \"cosine\"\nlr = 0.1\nwarmup_epochs = 1.0";
        assert!(toml::from_str::<ScheduleConfig>(good).is_ok());
        let typo = "shape = \"cosine\"\nlr = 0.1\nwarmup_epoch = 1.0";
        let message = toml::from_str::<ScheduleConfig>(typo)
            .unwrap_err()
            .to_string();
        assert!(message.contains("warmup_epoch"), "{message}");
    }
}

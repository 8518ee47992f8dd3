//! The training loop on a small regression: resuming, stopping, failing, and being killed.

// Helpers of tests may fail like tests.
#![allow(clippy::unwrap_used)]

mod killing;
mod toy;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::rc::Rc;

use deepmim_engine::{
    Checkpoint, EngineError, EvaluateOptions, Existing, Outcome, Precision, StopFlag, World,
    evaluate,
};
use toy::{Ending, Toy};

/// Everything that must not depend on interruptions, by file name. Rows of wall-clock time go.
fn results(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let (newest, _) = Checkpoint::latest(&run.join("checkpoints")).unwrap();
    let newest = newest.unwrap();
    let mut results = BTreeMap::new();
    for name in [
        "weights.safetensors",
        "optimizer.safetensors",
        "ema.safetensors",
    ] {
        results.insert(name.to_owned(), fs::read(newest.path.join(name)).unwrap());
    }
    let metrics: String = fs::read_to_string(run.join("metrics.csv"))
        .unwrap()
        .lines()
        .filter(|line| !line.contains("second"))
        .map(|line| format!("{line}\n"))
        .collect();
    results.insert("metrics.csv".into(), metrics.into_bytes());
    results
}

fn assert_same(got: &Path, wanted: &Path, what: &str) {
    let (got, wanted) = (results(got), results(wanted));
    for (name, bytes) in &wanted {
        if name == "metrics.csv" {
            assert_eq!(
                String::from_utf8_lossy(&got[name]),
                String::from_utf8_lossy(bytes),
                "{what}"
            );
        }
        assert!(got[name] == *bytes, "{what}: {name} differs");
    }
}

#[test]
fn a_run_stopped_after_any_step_ends_as_if_it_was_not() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let toy = Toy::default();
    assert_eq!(
        toy.train(&whole, Existing::Refuse).unwrap(),
        Ending::of(Outcome::Finished, 6)
    );
    let metrics = String::from_utf8(results(&whole)["metrics.csv"].clone()).unwrap();
    for name in [
        "train/loss",
        "train/grad_norm",
        "train/lr",
        "epoch/loss",
        "eval/error",
    ] {
        assert!(metrics.contains(name), "{name} in {metrics}");
    }
    for stop_at in 0..6 {
        let run = folder.path().join(format!("stopped-{stop_at}"));
        let toy = Toy {
            stop_at: Some(stop_at),
            ..Toy::default()
        };
        let ending = toy.train(&run, Existing::Refuse).unwrap();
        // A step under way is finished.
        assert_eq!(ending, Ending::of(Outcome::Interrupted, stop_at + 1));
        let ending = Toy::default().train(&run, Existing::Resume).unwrap();
        assert_eq!(ending, Ending::of(Outcome::Finished, 6));
        assert_same(&run, &whole, &format!("stopped in step {stop_at}"));
    }
    // And one stopped in every step.
    let run = folder.path().join("stopped-always");
    for stop_at in 0..6 {
        let toy = Toy {
            stop_at: Some(stop_at),
            ..Toy::default()
        };
        toy.train(&run, Existing::Resume).unwrap();
    }
    Toy::default().train(&run, Existing::Resume).unwrap();
    assert_same(&run, &whole, "stopped in every step");
    // A finished run stays as it is.
    let ending = Toy::default().train(&run, Existing::Resume).unwrap();
    assert_eq!(ending, Ending::of(Outcome::Finished, 6));
    assert_same(&run, &whole, "resumed after its end");
}

#[test]
fn lars_resumes_too() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let toy = |stop_at| Toy {
        stop_at,
        lars: true,
        ..Toy::default()
    };
    toy(None).train(&whole, Existing::Refuse).unwrap();
    toy(Some(2)).train(&parts, Existing::Refuse).unwrap();
    toy(None).train(&parts, Existing::Resume).unwrap();
    assert_same(&parts, &whole, "lars");
}

/// A stop during the evaluation at an epoch's end: the evaluation is made on resume.
#[test]
fn a_stopped_evaluation_is_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    Toy::default().train(&whole, Existing::Refuse).unwrap();
    let toy = Toy {
        stop_in_evaluation: Some(1),
        ..Toy::default()
    };
    let ending = toy.train(&parts, Existing::Refuse).unwrap();
    assert_eq!(ending, Ending::of(Outcome::Interrupted, 4));
    let (newest, _) = Checkpoint::latest(&parts.join("checkpoints")).unwrap();
    assert!(newest.unwrap().state.evaluation_pending);
    Toy::default().train(&parts, Existing::Resume).unwrap();
    assert_same(&parts, &whole, "stopped in evaluation");
}

/// Steps of the rows of one metric.
fn steps_of(run: &Path, metric: &str) -> Vec<u64> {
    let metrics = String::from_utf8(results(run)["metrics.csv"].clone()).unwrap();
    let rows = metrics.lines().filter(|line| line.contains(metric));
    rows.map(|line| line.split(',').next().unwrap().parse().unwrap())
        .collect()
}

/// Evaluations counted in steps: within epochs and not after them, the last always; epochs are logged
/// all the same, and a stop anywhere changes nothing.
#[test]
fn evaluations_come_after_every_so_many_steps() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let plain = folder.path().join("plain");
    let toy = |stop_at| Toy {
        evaluate_every_steps: Some(3),
        max_steps: Some(5),
        save_every_steps: Some(1),
        stop_at,
        ..Toy::default()
    };
    let ending = toy(None).train(&whole, Existing::Refuse).unwrap();
    assert_eq!(ending, Ending::of(Outcome::Finished, 5));
    assert_eq!(steps_of(&whole, "eval/error"), [3, 5]);
    assert_eq!(steps_of(&whole, "epoch/loss"), [2, 4]);
    for stop_at in 0..5 {
        let run = folder.path().join(format!("stopped-{stop_at}"));
        toy(Some(stop_at)).train(&run, Existing::Refuse).unwrap();
        toy(None).train(&run, Existing::Resume).unwrap();
        assert_same(&run, &whole, &format!("stopped in step {stop_at}"));
    }
    // Evaluating more often trains no differently.
    let toy = Toy {
        max_steps: Some(5),
        ..Toy::default()
    };
    toy.train(&plain, Existing::Refuse).unwrap();
    assert_eq!(steps_of(&plain, "eval/error"), [2, 4, 5]);
    let (with, without) = (results(&whole), results(&plain));
    assert!(with["weights.safetensors"] == without["weights.safetensors"]);
}

#[test]
fn a_loss_that_is_not_finite_names_itself_and_keeps_the_state() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let toy = Toy {
        poisoned: Some(3),
        ..Toy::default()
    };
    let error = toy.train(&run, Existing::Refuse).unwrap_err();
    assert!(
        matches!(error, EngineError::NonFinite { step: 3, .. }),
        "{error}"
    );
    let message = error.to_string();
    for part in [
        "squared is NaN",
        "step 3",
        "epoch 1",
        "learning rate",
        "sample-",
        "step-00000003",
    ] {
        assert!(message.contains(part), "{part} in {message}");
    }
    assert!(!message.contains('\n'));
    // The state saved is the one before the bad step: a run that stops there has the same.
    let clean = folder.path().join("clean");
    let toy = Toy {
        stop_at: Some(2),
        ..Toy::default()
    };
    toy.train(&clean, Existing::Refuse).unwrap();
    assert_same(&run, &clean, "before the bad step");
    // With good data again it goes on as if nothing had happened.
    Toy::default().train(&run, Existing::Resume).unwrap();
    let whole = folder.path().join("whole");
    Toy::default().train(&whole, Existing::Refuse).unwrap();
    assert_same(&run, &whole, "after the bad step");
}

#[test]
fn an_unreadable_sample_stops_with_the_state_saved() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let toy = Toy {
        unreadable: Some(3),
        ..Toy::default()
    };
    let message = toy.train(&run, Existing::Refuse).unwrap_err().to_string();
    assert!(
        message.contains("sample-") && message.contains("step-00000003"),
        "{message}"
    );
}

#[test]
fn a_broken_checkpoint_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    Toy::default().train(&whole, Existing::Refuse).unwrap();
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 5] = [
        ("flipped bit", |newest| {
            let file = newest.join("weights.safetensors");
            let mut bytes = fs::read(&file).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(file, bytes).unwrap();
        }),
        ("truncated", |newest| {
            let file = newest.join("optimizer.safetensors");
            let bytes = fs::read(&file).unwrap();
            fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("missing", |newest| {
            fs::remove_file(newest.join("ema.safetensors")).unwrap()
        }),
        ("half a state", |newest| {
            let file = newest.join("state.json");
            let text = fs::read_to_string(&file).unwrap();
            fs::write(file, &text[..text.len() / 2]).unwrap();
        }),
        ("another state", |newest| {
            let file = newest.join("state.json");
            let text = fs::read_to_string(&file).unwrap();
            fs::write(file, text.replace("\"step\": 4", "\"step\": 5")).unwrap();
        }),
    ];
    for (what, damage) in damages {
        let run = folder.path().join(what);
        let toy = Toy {
            stop_at: Some(3),
            save_every_steps: Some(1),
            ..Toy::default()
        };
        toy.train(&run, Existing::Refuse).unwrap();
        let checkpoints = run.join("checkpoints");
        let (newest, warnings) = Checkpoint::latest(&checkpoints).unwrap();
        let newest = newest.unwrap();
        assert!(warnings.is_empty());
        assert_eq!(newest.state.step, 4);
        damage(&newest.path);
        let (older, warnings) = Checkpoint::latest(&checkpoints).unwrap();
        assert_eq!(older.unwrap().state.step, 3, "{what}");
        assert!(warnings[0].contains("step-00000004"), "{}", warnings[0]);
        Toy::default().train(&run, Existing::Resume).unwrap();
        assert_same(&run, &whole, what);
    }
}

#[test]
fn without_a_whole_checkpoint_nothing_is_guessed() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let toy = Toy {
        stop_at: Some(1),
        ..Toy::default()
    };
    toy.train(&run, Existing::Refuse).unwrap();
    let (newest, _) = Checkpoint::latest(&run.join("checkpoints")).unwrap();
    fs::write(newest.unwrap().path.join("state.json"), "{").unwrap();
    let error = Toy::default().train(&run, Existing::Resume).unwrap_err();
    assert!(
        matches!(error, EngineError::NoWholeCheckpoint { count: 1, .. }),
        "{error}"
    );
}

#[test]
fn the_newest_checkpoints_stay_and_partial_ones_go() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let toy = Toy {
        save_every_steps: Some(1),
        stop_at: Some(4),
        ..Toy::default()
    };
    toy.train(&run, Existing::Refuse).unwrap();
    let checkpoints = run.join("checkpoints");
    let names = || -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(&checkpoints)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(), ["step-00000004", "step-00000005"]);
    fs::create_dir(checkpoints.join(".partial-step-00000006")).unwrap();
    fs::write(
        checkpoints.join(".partial-step-00000006/weights.safetensors"),
        "x",
    )
    .unwrap();
    Toy::default().train(&run, Existing::Resume).unwrap();
    assert_eq!(names(), ["step-00000005", "step-00000006"]);
}

#[test]
fn another_model_or_data_set_is_refused_on_resume() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let toy = Toy {
        stop_at: Some(1),
        ..Toy::default()
    };
    toy.train(&run, Existing::Refuse).unwrap();
    let wider = Toy {
        width: 9,
        ..Toy::default()
    }
    .train(&run, Existing::Resume);
    let message = wider.unwrap_err().to_string();
    assert!(
        message.contains("hidden") && message.contains("step-00000002"),
        "{message}"
    );
    let longer = Toy {
        batches: 7,
        ..Toy::default()
    }
    .train(&run, Existing::Resume);
    let message = longer.unwrap_err().to_string();
    assert!(
        message.contains("5 batches") && message.contains('7'),
        "{message}"
    );
}

#[test]
fn too_little_data_for_one_step_is_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let short = Toy {
        batches: 1,
        ..Toy::default()
    }
    .train(&run, Existing::Refuse);
    let message = short.unwrap_err().to_string();
    assert!(message.contains("accumulate = 2"), "{message}");
}

/// Steps with accumulation over two halves equal steps over the whole: the loss is a mean.
#[test]
fn accumulating_halves_is_the_whole_batch() {
    let folder = tempfile::tempdir().unwrap();
    let (halves, whole) = (folder.path().join("halves"), folder.path().join("whole"));
    let toy = |accumulate, batch, batches| Toy {
        accumulate,
        batch,
        batches,
        dropout: 0.0,
        ..Toy::default()
    };
    toy(2, 2, 6).train(&halves, Existing::Refuse).unwrap();
    toy(1, 4, 3).train(&whole, Existing::Refuse).unwrap();
    for (name, wanted) in toy::weights(&whole) {
        let got = &toy::weights(&halves)[&name];
        assert!(got.allclose(&wanted, 1e-4, 1e-6, false), "{name}");
    }
}

/// `ema = decay * ema + (1 - decay) * weights`, replayed from the weights of every step.
#[test]
fn the_average_is_the_recurrence() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let toy = Toy {
        save_every_steps: Some(1),
        keep: 100,
        ..Toy::default()
    };
    let mut average = toy.initial_weights();
    toy.train(&run, Existing::Refuse).unwrap();
    for step in 1..=6 {
        let path = run.join(format!("checkpoints/step-{step:08}"));
        let checkpoint = Checkpoint::open(&path).unwrap();
        let weights = toy::read(&checkpoint.weights());
        for (name, average) in &mut average {
            *average = &*average * 0.9 + &weights[name] * 0.1;
        }
        for (name, got) in toy::read(&checkpoint.ema().unwrap()) {
            assert!(
                got.allclose(&average[&name], 1e-5, 1e-7, false),
                "step {step} {name}"
            );
        }
    }
}

#[test]
fn evaluation_sees_every_sample_and_stops_when_asked() {
    let toy = Toy::default();
    let (_vs, task) = toy.model();
    let options = EvaluateOptions {
        device: tch::Device::Cpu,
        precision: Precision::F32,
        batches: toy.batches,
        label: "eval".into(),
        stop: StopFlag::new(),
        world: Rc::new(World::alone()),
    };
    let mut seen = 0;
    let done = evaluate(&task, toy.epoch(0, 0), &options, |_| {
        seen += 1;
        Ok(())
    })
    .unwrap();
    assert_eq!(
        (seen, done.samples),
        (toy.batches * toy.batch, toy.batches * toy.batch)
    );
    options.stop.raise();
    let stopped = evaluate(&task, toy.epoch(0, 0), &options, |_| Ok(()));
    assert!(matches!(stopped, Err(EngineError::Stopped)));
}

#[test]
fn narrow_formats_train() {
    for precision in [Precision::Bf16, Precision::F16] {
        trains_nearly_as_float32(precision);
    }
}

/// The step whose scaled gradients overflow updates nothing and halves the factor, over a resume, too.
#[test]
fn an_overflow_of_scaled_gradients_leaves_one_update_out() {
    let folder = tempfile::tempdir().unwrap();
    let toy = |stop_at| Toy {
        precision: Precision::F16,
        huge: Some(2),
        stop_at,
        save_every_steps: Some(1),
        keep: 10,
        ..Toy::default()
    };
    let whole = folder.path().join("whole");
    toy(None).train(&whole, Existing::Refuse).unwrap();
    let weights = |step: u64| {
        let folder = whole.join(format!("checkpoints/step-{step:08}"));
        fs::read(folder.join("weights.safetensors")).unwrap()
    };
    assert_eq!(weights(3), weights(2));
    assert_ne!(weights(4), weights(3));
    let metrics = fs::read_to_string(whole.join("metrics.csv")).unwrap();
    let logged = |step: u64, name: &str| -> Vec<f64> {
        let rows = metrics
            .lines()
            .map(|row| row.split(',').collect::<Vec<_>>());
        rows.filter(|row| row[0] == step.to_string() && row[2] == name)
            .map(|row| row[3].parse().unwrap())
            .collect()
    };
    let factor = |step: u64| {
        let state = whole.join(format!("checkpoints/step-{step:08}/state.json"));
        let state: serde_json::Value = serde_json::from_slice(&fs::read(state).unwrap()).unwrap();
        state["body"]["state"]["loss_scale"]["factor"]
            .as_f64()
            .unwrap()
    };
    assert_eq!(factor(3), factor(2) / 2.0);
    // Means over steps 3 and 4, of which the first has no norm.
    let mean = (factor(2) + factor(3)) / 2.0;
    assert_eq!(logged(4, "train/loss_scale"), [mean]);
    assert!(logged(4, "train/grad_norm")[0] < 10.0, "{metrics}");

    let cut = folder.path().join("cut");
    toy(Some(3)).train(&cut, Existing::Refuse).unwrap();
    toy(None).train(&cut, Existing::Resume).unwrap();
    assert_same(&cut, &whole, "after an overflow");
}

fn trains_nearly_as_float32(precision: Precision) {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let toy = Toy {
        precision,
        ..Toy::default()
    };
    assert_eq!(
        toy.train(&run, Existing::Refuse).unwrap(),
        Ending::of(Outcome::Finished, 6)
    );
    let exact = folder.path().join("exact");
    Toy::default().train(&exact, Existing::Refuse).unwrap();
    // Near the float32 run, but not it.
    assert_ne!(
        results(&run)["weights.safetensors"],
        results(&exact)["weights.safetensors"]
    );
    for (name, wanted) in toy::weights(&exact) {
        assert_eq!(toy::weights(&run)[&name].kind(), tch::Kind::Float);
        assert!(
            toy::weights(&run)[&name].allclose(&wanted, 0.0, 0.1, false),
            "{name}"
        );
    }
}

//! Segmentation as a user runs it, on a drawn data set.

#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "shared with tests of classification")]
mod support;

use std::path::Path;

use support::{fails, run, smoke, weights_hash};

fn draw(folder: &Path) {
    let command = "data synth segmentation --out data --pictures 12 --val-pictures 4 --size 96";
    run(folder, &command.split(' ').collect::<Vec<_>>());
}

fn summary(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Some file of a folder: the first by name.
fn first(folder: &Path) -> String {
    let names = std::fs::read_dir(folder).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    folder.join(names.min().unwrap()).display().to_string()
}

#[test]
fn a_segmentor_is_trained_evaluated_scored_and_colours_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    draw(at);
    let recipe = smoke("segment.toml");
    let train = ["finetune", &recipe, "--data", "data", "--out"];
    run(at, &[&train[..], &["whole"]].concat());
    let whole = at.join("whole/eval");
    for file in ["summary.csv", "per_class.csv", "confusion.csv"] {
        assert!(whole.join(file).is_file(), "{file}");
    }
    // Evaluating the run again, and scoring its label maps, give the numbers of training's end.
    let trained = summary(&whole.join("summary.json"));
    let again = [
        "eval",
        &recipe,
        "--data",
        "data",
        "--weights",
        "whole",
        "--out",
        "again",
    ];
    run(at, &[&again[..], &["--submission"]].concat());
    assert_eq!(summary(&at.join("again/summary.json")), trained);
    let score = [
        "score",
        "ade20k",
        "--gt",
        "data/annotations/validation",
        "--reduce-zero-label",
    ];
    let names = ["--class-names", "data/classes.txt", "--out", "scored"];
    run(
        at,
        &[&score[..], &names, &["--pred", "again/labels"]].concat(),
    );
    assert_eq!(summary(&at.join("scored/summary.json")), trained);
    let one_based = ["--pred", "again/submission", "--one-based-predictions"];
    run(at, &[&score[..], &names, &one_based].concat());
    assert_eq!(summary(&at.join("scored/summary.json")), trained);

    // Mirror images and a second size are averaged in.
    let more = ["--flip", "--set", "data.eval_transform.ratios=[1.0, 1.5]"];
    run(at, &[&again[..], &more].concat());
    assert_ne!(summary(&at.join("again/summary.json")), trained);

    let picture = first(&at.join("data/images/validation"));
    let predict = ["predict", &recipe, "--weights", "whole", &picture, "--json"];
    let told = run(at, &predict);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let shares = told[0]["classes"].as_array().unwrap().iter();
    let shares: f64 = shares.map(|class| class["share"].as_f64().unwrap()).sum();
    assert!((shares - 1.0).abs() < 1e-9);
    for file in ["labels", "overlay"] {
        assert!(at.join(told[0][file].as_str().unwrap()).is_file());
    }
}

/// A pre-trained trunk goes in, and what comes out opens under mmsegmentation's names.
#[test]
fn trunks_of_pre_training_go_in_and_mmsegmentation_files_go_out_and_in() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    draw(at);
    let pictures = "data synth classification --out pictures --classes 2 --per-class 8 --val-per-class 2 --size 32";
    run(at, &pictures.split(' ').collect::<Vec<_>>());
    let pretrain = smoke("pretrain_mae.toml");
    run(
        at,
        &["pretrain", &pretrain, "--data", "pictures", "--out", "mae"],
    );
    let recipe = smoke("segment.toml");
    let train = ["finetune", &recipe, "--data", "data", "--init", "mae"];
    run(at, &[&train[..], &["--out", "own"]].concat());
    let trained = summary(&at.join("own/eval/summary.json"));
    for dialect in ["mmseg", "deepmim_seg"] {
        let names = ["--from", "native", "--to", dialect];
        let convert = ["checkpoint", "convert", "own", "own.pth"];
        run(at, &[&convert[..], &names].concat());
        let eval = ["eval", &recipe, "--data", "data", "--weights", "own.pth"];
        let more = ["--dialect", dialect, "--out", "again"];
        run(at, &[&eval[..], &more].concat());
        assert_eq!(
            summary(&at.join("again/summary.json")),
            trained,
            "{dialect}"
        );
        std::fs::remove_file(at.join("own.pth")).unwrap();
    }
}

/// Cityscapes' pictures and label maps have names of their own, and other maps lie beside the latter.
#[test]
fn label_maps_with_other_names_than_their_pictures_are_scored() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    draw(at);
    let renamed = |folder: &str, ending: &str| {
        let names: Vec<_> = std::fs::read_dir(at.join(folder)).unwrap().collect();
        for entry in names {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap();
            std::fs::rename(&path, path.with_file_name(format!("{stem}{ending}"))).unwrap();
        }
    };
    for split in ["training", "validation"] {
        renamed(&format!("data/images/{split}"), "_leftImg8bit.jpg");
        let labels = format!("data/annotations/{split}");
        renamed(&labels, "_gtFine_labelTrainIds.png");
        let map = first(&at.join(&labels));
        std::fs::copy(&map, at.join(&labels).join("other_gtFine_labelIds.png")).unwrap();
    }
    let recipe = smoke("segment.toml");
    run(
        at,
        &["finetune", &recipe, "--data", "data", "--out", "whole"],
    );
    assert_eq!(summary(&at.join("whole/eval/summary.json"))["images"], 4.0);
    assert!(first(&at.join("whole/eval/labels")).ends_with("_gtFine_labelTrainIds.png"));
}

/// Pictures that teach nothing, little or one thing, in one batch with others: the losses stay numbers.
#[test]
fn odd_pictures_are_trained_on_and_evaluated() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    draw(at);
    let small = data::RgbImage::filled(30, 20, [90, 120, 60]);
    for split in ["training", "validation"] {
        let images = at.join("data/images").join(split);
        let labels = at.join("data/annotations").join(split);
        let add = |name: &str, label: u8| {
            small.write_png(&images.join(name)).unwrap();
            let map = vec![label; small.width * small.height];
            data::write_label_png(&labels.join(name), small.width, small.height, &map).unwrap();
        };
        // Smaller than the network's square once resized, as ratios may be below 1. In these label maps
        // 0 is ignored.
        add("all_ignored.png", 0);
        add("one_class.png", 3);
    }
    let recipe = smoke("segment.toml");
    let train = ["finetune", &recipe, "--data", "data", "--out", "odd"];
    let losses = [
        "--set",
        "trainer.log_every=1",
        "--set",
        "model.average_labelled_only=true",
    ];
    run(at, &[&train[..], &losses].concat());
    let metrics = std::fs::read_to_string(at.join("odd/metrics.csv")).unwrap();
    let losses: Vec<f64> = metrics
        .lines()
        .filter_map(|line| line.split_once("train/loss,")?.1.parse().ok())
        .collect();
    assert_eq!(losses.len(), 14);
    assert!(losses.iter().all(|loss| loss.is_finite()), "{losses:?}");
    let scores = summary(&at.join("odd/eval/summary.json"));
    assert_eq!(scores["images"], 6.0);

    // A batch in which nothing is labelled leaves the weights' gradients at zero, not at no number.
    for split in ["training", "validation"] {
        for kind in ["images", "annotations"] {
            let folder = at.join("data").join(kind).join(split);
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.file_stem().unwrap() != "all_ignored" {
                    std::fs::remove_file(path).unwrap();
                }
            }
        }
    }
    let images = at.join("data/images/training");
    let labels = at.join("data/annotations/training");
    for folder in [&images, &labels] {
        std::fs::copy(folder.join("all_ignored.png"), folder.join("again.png")).unwrap();
    }
    let train = ["finetune", &recipe, "--data", "data", "--out", "nothing"];
    run(
        at,
        &[&train[..], &["--set", "model.average_labelled_only=true"]].concat(),
    );
    let scores = summary(&at.join("nothing/eval/summary.json"));
    assert_eq!(scores["images"], 1.0);

    // A label map of another size than its picture.
    let other = labels.join("again.png");
    data::write_label_png(&other, 20, 30, &[1; 600]).unwrap();
    let sentence = fails(
        at,
        1,
        &["finetune", &recipe, "--data", "data", "--out", "wrong"],
    );
    assert!(
        sentence.contains("again.png") && sentence.contains("20") && sentence.contains("30"),
        "{sentence}"
    );
}

#[test]
fn a_run_stopped_half_way_ends_as_one_that_was_not() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    draw(at);
    let recipe = smoke("segment.toml");
    let train = ["finetune", &recipe, "--data", "data", "--out"];
    run(at, &[&train[..], &["whole"]].concat());
    // A picture that cannot be read stops the run after some steps; put right, it goes on.
    let file = first(&at.join("data/images/training"));
    let sound = std::fs::read(&file).unwrap();
    std::fs::write(&file, &sound[..sound.len() / 2]).unwrap();
    let sentence = fails(at, 1, &[&train[..], &["parts"]].concat());
    assert!(sentence.contains(Path::new(&file).file_name().unwrap().to_str().unwrap()));
    std::fs::write(&file, &sound).unwrap();
    run(at, &[&train[..], &["parts", "--resume"]].concat());
    assert_eq!(
        weights_hash(&at.join("parts")),
        weights_hash(&at.join("whole"))
    );
}

#[test]
fn what_does_not_fit_is_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    draw(at);
    let recipe = smoke("segment.toml");
    let refused = |set: &str| {
        let train = ["finetune", &recipe, "--data", "data", "--set", set];
        fails(at, 1, &train)
    };
    assert!(refused("model.classes=7").contains("model.classes"));
    assert!(refused("model.taps=[1, 2, 3, 5]").contains("taps"));
    assert!(refused("data.train_transform.size=128").contains("image_size"));
    assert!(refused("test_time.stride=65").contains("stride"));
    let classify = smoke("finetune.toml");
    let eval = ["eval", &classify, "--weights", "none", "--submission"];
    assert!(fails(at, 1, &eval).contains("segment"));
}

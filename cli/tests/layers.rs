//! The workspace's shape: dependencies point down only, opencv and unsafe code live in one crate each.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Package name -> names of everything it depends on outside of tests.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            let names = package["dependencies"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|dependency| dependency["kind"].is_null())
                .map(|dependency| text(&dependency["name"]))
                .collect();
            (text(&package["name"]), names)
        })
        .collect()
}

fn rank(package: &str) -> u32 {
    match package.trim_start_matches("deepmim-") {
        "native" | "eval" => 0,
        "backbone" => 1,
        "engine" | "data" => 2,
        "pretraining" | "classification" | "detection" | "segmentation" | "leaderboard" => 3,
        "cli" => 4,
        other => panic!("give the new package {other} a rank here and in ARCHITECTURE.md"),
    }
}

#[test]
fn dependencies_point_down() {
    for (package, dependencies) in dependencies() {
        for below in dependencies
            .iter()
            .filter(|name| name.starts_with("deepmim-"))
        {
            assert!(
                rank(below) < rank(&package),
                "{package} must not depend on {below}"
            );
        }
    }
}

#[test]
fn heavy_libraries_stay_where_they_belong() {
    for (package, dependencies) in dependencies() {
        let uses = |name: &str| dependencies.iter().any(|dependency| dependency == name);
        assert_eq!(
            uses("opencv"),
            package == "deepmim-data",
            "opencv in {package}"
        );
        if ["deepmim-eval", "deepmim-data", "deepmim-leaderboard"].contains(&package.as_str()) {
            assert!(
                !uses("tch") && !uses("torch-sys"),
                "{package} must not know libtorch"
            );
        }
        assert_eq!(
            uses("anyhow"),
            package == "deepmim-cli",
            "anyhow in {package}"
        );
    }
}

#[test]
fn unsafe_code_is_allowed_in_native_alone() {
    let mut folders = vec![root()];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" && name != "runs" && name != "native"
                {
                    folders.push(path);
                }
            } else if name.ends_with(".rs") {
                seen += 1;
                let source = std::fs::read_to_string(&path).unwrap();
                let allowed = concat!("allow(", "unsafe_code)");
                assert!(
                    !source.contains(allowed),
                    "{} allows unsafe code",
                    path.display()
                );
            }
        }
    }
    assert!(seen > 40, "only {seen} source files were found");
}

//! Reading: every file of the manifest does what the manifest says.

use std::collections::BTreeSet;

use deepmim_backbone::weights::{Checkpoint, Dialect, Format, StateDict};
use tch::{Kind, Tensor};

use super::{exact, exact_state, expected, fixture};

fn manifest() -> serde_json::Map<String, serde_json::Value> {
    let text = std::fs::read_to_string(fixture("manifest.json")).unwrap();
    match serde_json::from_str(&text).unwrap() {
        serde_json::Value::Object(files) => files,
        _ => panic!("the manifest is a table of files"),
    }
}

/// Names, types, shapes and bytes equal what PyTorch read, in 19 files.
#[test]
fn good_files_are_read_bit_by_bit() {
    let mut checked = 0;
    for (file, says) in manifest() {
        // Also the file that may be refused: it is read here.
        let Some(reference) = says["expected"].as_str() else {
            continue;
        };
        let wanted = expected(&fixture(reference));
        let found = if file == "dino_full.pth" {
            // The expectation holds both trunks, prefixes stripped.
            let mut both = StateDict::new("both");
            for part in ["teacher", "student"] {
                let read = Dialect::Dino.read(fixture(&file), Some(part)).unwrap();
                for (name, tensor) in read.state {
                    both.insert(format!("{part}/{name}"), tensor);
                }
            }
            exact_state(&both)
        } else {
            let state = StateDict::read(fixture(&file)).unwrap();
            // detectron2's expectation is what lies under `model`.
            let state = if file.starts_with("detectron2") {
                state.section("model")
            } else {
                state
            };
            let section = |name: &str| name.rsplit_once('/').map(|(section, _)| section.to_owned());
            let sections: BTreeSet<_> = wanted.keys().map(|name| section(name)).collect();
            let mut found = exact_state(&state);
            // Optimiser states lie in dictionaries that the expectation leaves out.
            found.retain(|name, _| sections.contains(&section(name)));
            found
        };
        let names = |state: &std::collections::BTreeMap<String, _>| -> Vec<String> {
            state.keys().cloned().collect()
        };
        assert_eq!(names(&found), names(&wanted), "{file}");
        for (name, tensor) in &wanted {
            assert_eq!(&found[name], tensor, "{file}: {name}");
        }
        checked += 1;
    }
    assert_eq!(checked, 19);
}

#[test]
fn bad_files_are_one_clear_sentence() {
    let mut checked = 0;
    for (file, says) in manifest() {
        if says["ok"] != serde_json::Value::Bool(false) {
            continue;
        }
        let read = Checkpoint::open(fixture(&file)).and_then(|checkpoint| checkpoint.read_all());
        let message = read.map(|_| ()).expect_err(&file).to_string();
        assert!(message.contains(&file), "{file}: {message}");
        assert!(!message.contains('\n'), "{file}: {message}");
        checked += 1;
    }
    assert_eq!(checked, 12);
    assert!(!std::path::Path::new("PWNED").exists());
}

#[test]
fn what_a_file_asks_for_is_named() {
    for (file, names) in [
        ("malicious_zip.pth", "posix.system"),
        ("malicious_legacy.pth", "posix.system"),
        ("malicious.pkl", "posix.system"),
        ("malicious_eval.pkl", "__builtin__.eval"),
        ("empty.pth", "empty file"),
        ("text.pth", "a web page"),
        ("truncated.pth", "damaged or incomplete"),
        ("truncated.pkl", "damaged or incomplete"),
        ("truncated_legacy.pth", "in the middle of storage"),
        ("short_storage.pth", "has 8 bytes where"),
        ("size_beyond_storage.pth", "reaches beyond its storage"),
    ] {
        let message = Checkpoint::open(fixture(file)).unwrap_err().to_string();
        assert!(message.contains(names), "{message}");
    }
    let message = Checkpoint::open(fixture("no_such_file.pth"))
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("no_such_file.pth: cannot be read"),
        "{message}"
    );
    let message = Checkpoint::open(fixture("")).unwrap_err().to_string();
    assert!(message.contains("a folder"), "{message}");
}

#[test]
fn formats_are_told_from_contents() {
    for (file, format) in [
        ("mae_pretrain.pth", Format::TorchZip),
        ("legacy.pth", Format::TorchLegacy),
        ("clip_torchscript.pt", Format::TorchScript),
        ("detectron2_p4.pkl", Format::Pickle),
        ("expected/timm_bare_pth.safetensors", Format::Safetensors),
    ] {
        assert_eq!(
            Checkpoint::open(fixture(file)).unwrap().format(),
            format,
            "{file}"
        );
    }
}

/// Harmless classes stay inert, and are named.
#[test]
fn foreign_objects_are_left_alone() {
    let checkpoint = Checkpoint::open(fixture("mae_pretrain.pth")).unwrap();
    assert_eq!(checkpoint.opaque_classes(), ["argparse.Namespace"]);
    let keys: Vec<&str> = checkpoint
        .top_level()
        .iter()
        .map(|(key, _)| key.as_str())
        .collect();
    assert_eq!(keys, ["model", "optimizer", "epoch", "scaler", "args"]);
    // Optimiser states are listed under their numbers.
    assert!(
        checkpoint
            .tensors()
            .iter()
            .any(|t| t.name == "optimizer/state/0/exp_avg")
    );
}

/// What is written here is what the reference crate reads, and what is read again; strided tensors
/// and those on the tape included.
#[test]
fn safetensors_go_out_and_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("all.safetensors");
    let mut state = StateDict::read(fixture("dtypes.pth")).unwrap();
    let table = Tensor::arange(12, (Kind::Float, tch::Device::Cpu)).view([3, 4]);
    state.insert("transposed", table.transpose(0, 1));
    state.insert("trained", table.set_requires_grad(true) * 2.0);
    state.insert(
        "empty",
        Tensor::zeros([0, 4], (Kind::Half, tch::Device::Cpu)),
    );
    state.insert("scalar", Tensor::from(2.5_f32));
    state.write_safetensors(&path).unwrap();
    let written = exact_state(&state);
    assert_eq!(expected(&path), written);
    assert_eq!(exact_state(&StateDict::read(&path).unwrap()), written);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// A header of 128 to 255 bytes (or so modulo 256) begins like a pickle of protocol 2 and up.
#[test]
fn headers_of_every_length_are_told_from_pickles() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one.safetensors");
    for length in 1..300 {
        let mut state = StateDict::new("one");
        state.insert("n".repeat(length), Tensor::from(1.0_f32));
        state.write_safetensors(&path).unwrap();
        assert_eq!(StateDict::read(&path).unwrap().len(), 1, "{length}");
    }
}

/// Python's loader wants every tensor at a multiple of its element's size.
#[test]
fn written_tensors_are_aligned() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("odd.safetensors");
    let mut state = StateDict::new("odd");
    state.insert("a_bytes", Tensor::from_slice(&[1_u8, 2, 3]));
    state.insert("b_wide", Tensor::from_slice(&[1.5_f64]));
    state.insert("c_half", Tensor::from_slice(&[1.0_f32]).to_kind(Kind::Half));
    state.write_safetensors(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let header_len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header_len]).unwrap();
    assert_eq!(header_len % 8, 0);
    assert_eq!(header["__metadata__"]["format"], "pt");
    for (name, width) in [("a_bytes", 1), ("b_wide", 8), ("c_half", 2)] {
        let start = header[name]["data_offsets"][0].as_u64().unwrap();
        assert_eq!(start % width, 0, "{name}");
    }
}

/// Only the wanted dictionary is read: the optimiser's storages are not even there.
#[test]
fn a_dialect_reads_its_own_part_only() {
    let read = Dialect::Mae
        .read(fixture("mae_pretrain.pth"), None)
        .unwrap();
    let wanted = expected(&fixture("expected/mae_pretrain_pth.safetensors"));
    let found = exact_state(&read.state);
    assert_eq!(found.len(), wanted.len());
    for (name, tensor) in wanted {
        assert_eq!(found[name.strip_prefix("model/").unwrap()], tensor);
    }
    assert!(read.dropped.is_empty());
}

#[test]
fn numpy_arrays_of_all_kinds_of_order_are_read() {
    let p2 = StateDict::read(fixture("detectron2_p2.pkl")).unwrap();
    let p4 = StateDict::read(fixture("detectron2_p4.pkl")).unwrap();
    let pth = StateDict::read(fixture("detectron2.pth")).unwrap();
    assert!(p2.len() >= 8);
    for (name, tensor) in p2.iter() {
        assert_eq!(exact(tensor), exact(p4.get(name).unwrap()), "{name}");
        assert_eq!(exact(tensor), exact(pth.get(name).unwrap()), "{name}");
    }
}

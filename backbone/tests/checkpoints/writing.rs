//! Writing `.pth`, `.pkl` and `.safetensors` files: what was written comes back bit by bit.
//!
//! That PyTorch and detectron2 open the same files is shown by `parity/checkpoint_writing.py`.

use std::path::Path;

use deepmim_backbone::weights::{
    Checkpoint, ConvertOptions, Dialect, Format, StateDict, convert, inspect,
};
use tch::{Device, Kind, Tensor};

use super::{exact_state, fixture};

/// A trunk with tensors of every sort: all types, an empty one, a number, strided ones.
fn odd_trunk(kinds: &[Kind]) -> StateDict {
    let mut state = StateDict::new("odd");
    for (number, &kind) in kinds.iter().enumerate() {
        let values = Tensor::arange(24, (Kind::Float, Device::Cpu)).view([2, 3, 4]) - 7.5;
        state.insert(format!("blocks.{number}.w"), values.to_kind(kind));
    }
    let values = Tensor::from_slice(&[f32::NAN, -0.0, 1e-45, f32::INFINITY, 255.0, 1.5]);
    state.insert("blocks.0.special", values.shallow_clone());
    let table = values.view([2, 3]);
    state.insert("blocks.0.transposed", table.transpose(0, 1));
    state.insert("blocks.0.part", table.slice(1, 1, 3, 1));
    state.insert(
        "blocks.0.empty",
        Tensor::zeros([0, 3], (Kind::Float, Device::Cpu)),
    );
    state.insert("blocks.0.number", Tensor::from(3.25_f32));
    state.insert("blocks.0.größe", Tensor::from_slice(&[1_i64, i64::MIN]));
    state
}

const NUMPY: &[Kind] = &[
    Kind::Float,
    Kind::Double,
    Kind::Half,
    Kind::Int64,
    Kind::Int,
    Kind::Int16,
    Kind::Int8,
    Kind::Uint8,
    Kind::Bool,
];

fn format(path: &Path) -> Format {
    Checkpoint::open(path).unwrap().format()
}

#[test]
fn every_dialect_and_kind_of_file_comes_back_bit_by_bit() {
    let folder = tempfile::tempdir().unwrap();
    let torch: Vec<Kind> = NUMPY.iter().copied().chain([Kind::BFloat16]).collect();
    let mut written = 0;
    for dialect in Dialect::ALL {
        for (ending, kinds, stored) in [
            ("safetensors", torch.as_slice(), Format::Safetensors),
            ("pth", torch.as_slice(), Format::TorchZip),
            ("pt", torch.as_slice(), Format::TorchZip),
            ("pkl", NUMPY, Format::Pickle),
        ] {
            let path = folder.path().join(format!("{dialect}.{ending}"));
            let theirs = dialect.from_native(odd_trunk(kinds)).unwrap();
            let wanted = exact_state(&theirs);
            if let Err(error) = theirs.write(&path, dialect) {
                let message = error.to_string();
                assert!(message.contains("has no .pkl files"), "{message}");
                assert!(!matches!(
                    dialect,
                    Dialect::Mae | Dialect::Timm | Dialect::Dino | Dialect::Detectron2
                ));
                assert!(!path.exists());
                continue;
            }
            assert_eq!(format(&path), stored);
            let back = StateDict::read(&path).unwrap();
            let section = match dialect {
                _ if ending == "pkl" => Some("model"),
                _ if ending == "safetensors" => None,
                Dialect::Mae | Dialect::Detectron2 => Some("model"),
                Dialect::Mmseg | Dialect::DeepmimSeg => Some("state_dict"),
                _ => None,
            };
            let back = match section {
                Some(section) => back.section(section),
                None => back,
            };
            assert_eq!(exact_state(&back), wanted, "{dialect} {ending}");
            let native = dialect.read(&path, None).unwrap().into_trunk().state;
            assert_eq!(exact_state(&native), exact_state(&odd_trunk(kinds)));
            written += 1;
        }
    }
    assert_eq!(written, 8 * 4 - 4);
}

/// The fixture's detector through each kind of file, and its trunk for a classifier.
#[test]
fn a_detector_is_converted_whole_or_to_its_trunk() {
    let folder = tempfile::tempdir().unwrap();
    let wanted = Dialect::Detectron2
        .read(fixture("detectron2_p4.pkl"), None)
        .unwrap();
    let mut options = ConvertOptions {
        from: Dialect::Detectron2,
        to: Dialect::Detectron2,
        part: None,
        precision: None,
        trunk_only: false,
    };
    for ending in ["pkl", "pth", "safetensors"] {
        let path = folder.path().join(format!("detector.{ending}"));
        let done = convert(fixture("detectron2_p4.pkl"), &path, &options).unwrap();
        assert_eq!(done.written.len(), wanted.state.len());
        let back = Dialect::Detectron2.read(&path, None).unwrap();
        assert_eq!(exact_state(&back.state), exact_state(&wanted.state));
        let guess = inspect(&path, false).unwrap().guess.unwrap();
        assert_eq!(guess.dialect, Some(Dialect::Detectron2));
        let opens = match ending {
            "pkl" => "DetectionCheckpointer(model).load(",
            "pth" => "weights_only=True)[\"model\"])",
            _ => "safetensors.torch.load_file(",
        };
        assert!(done.to_string().contains(opens), "{done}");
    }
    options.to = Dialect::Timm;
    let path = folder.path().join("trunk.pth");
    let done = convert(fixture("detectron2_p4.pkl"), &path, &options).unwrap();
    assert_eq!(done.written, ["blocks.0.attn.rel_pos_h", "pos_embed"]);
    assert!(
        done.dropped
            .contains(&"roi_heads.mask_head.deconv.weight".to_owned())
    );
    let back = exact_state(&StateDict::read(&path).unwrap());
    let table = &exact_state(&wanted.state)["backbone.net.pos_embed"];
    assert_eq!(&back["pos_embed"], table);
}

/// Only a pickle without a detector's names asks detectron2 to match the ends of names.
#[test]
fn a_bare_trunk_asks_detectron2_to_match_names() {
    let folder = tempfile::tempdir().unwrap();
    let asks = |dialect: Dialect| {
        let path = folder.path().join(format!("{dialect}.pkl"));
        let state = dialect.from_native(odd_trunk(&[Kind::Float])).unwrap();
        state.write(&path, dialect).unwrap();
        let top = Checkpoint::open(&path).unwrap().top_level().to_vec();
        assert!(top.contains(&("__author__".to_owned(), "\"deepmim\"".to_owned())));
        top.contains(&("matching_heuristics".to_owned(), "true".to_owned()))
    };
    assert!(asks(Dialect::Mae));
    assert!(!asks(Dialect::Detectron2));
}

#[test]
fn what_a_kind_of_file_lacks_is_one_clear_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let state = odd_trunk(&[Kind::BFloat16]);
    let path = folder.path().join("half.pkl");
    let message = state.write(&path, Dialect::Mae).unwrap_err().to_string();
    assert!(
        message.contains("blocks.0.w is of type bfloat16, which numpy does not have"),
        "{message}"
    );
    let path = folder.path().join("half.npz");
    let message = state.write(&path, Dialect::Mae).unwrap_err().to_string();
    assert!(message.contains("end its name in .safetensors, .pth or .pkl"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

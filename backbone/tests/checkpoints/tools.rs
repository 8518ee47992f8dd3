//! `checkpoint inspect`, `convert` and `diff`.

use deepmim_backbone::weights::{
    ConvertOptions, Dialect, DiffSide, Precision, StateDict, convert, diff, inspect,
};
use tch::{Kind, Tensor};

use super::{exact_state, expected, fixture};

#[test]
fn inspect_tells_what_is_inside() {
    let found = inspect(fixture("mae_finetuned.pth"), true).unwrap();
    let guess = found.guess.as_ref().unwrap();
    assert_eq!(guess.dialect, Some(Dialect::Mae));
    let vit = found.vit.as_ref().unwrap();
    assert_eq!((vit.width, vit.depth, vit.patch_size), (8, 2, 4));
    assert_eq!(
        (vit.image_size, vit.classes, vit.decoders),
        (Some(12), Some(5), 0)
    );
    assert!(vit.class_token);
    assert_eq!(vit.mlp_ratio, 2.0);
    let head = found
        .tensors
        .iter()
        .find(|row| row.name == "model/head.weight")
        .unwrap();
    assert_eq!(
        (head.shape.as_slice(), head.kind.as_str()),
        (&[5, 8][..], "float32")
    );
    assert_eq!(head.statistics.unwrap().non_finite, 0);
    let text = found.to_string();
    for part in [
        "as a guess",
        "2 blocks of width 8",
        "argparse.Namespace",
        "PyTorch (zip)",
        "mean",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!(json["format"], "torch_zip");
    assert_eq!(json["vit"]["depth"], 2);
}

#[test]
fn every_dialect_is_guessed() {
    for (file, dialect) in [
        ("mae_pretrain.pth", Some(Dialect::Mae)),
        ("deepmim_pretrain.pth", Some(Dialect::Mae)),
        ("timm_bare.pth", Some(Dialect::Timm)),
        ("dino_full.pth", Some(Dialect::Dino)),
        ("clip_visual_half.pt", Some(Dialect::Clip)),
        ("clip_torchscript.pt", Some(Dialect::Clip)),
        ("mmseg.pth", Some(Dialect::DeepmimSeg)),
        ("detectron2_p2.pkl", Some(Dialect::Detectron2)),
    ] {
        let found = inspect(fixture(file), false).unwrap();
        assert_eq!(found.guess.unwrap().dialect, dialect, "{file}");
    }
    let decoders = |file| inspect(fixture(file), false).unwrap().vit.unwrap().decoders;
    assert_eq!(
        (
            decoders("mae_pretrain.pth"),
            decoders("deepmim_pretrain.pth")
        ),
        (1, 4)
    );
    let clip = inspect(fixture("clip_visual_half.pt"), false)
        .unwrap()
        .vit
        .unwrap();
    assert_eq!((clip.width, clip.depth, clip.image_size), (8, 2, Some(8)));
    assert!(
        inspect(fixture("odd_values.pth"), true)
            .unwrap()
            .guess
            .is_none()
    );
}

#[test]
fn not_finite_numbers_are_counted() {
    let found = inspect(fixture("dtypes.pth"), true).unwrap();
    let special = found
        .tensors
        .iter()
        .find(|row| row.name == "special")
        .unwrap();
    assert!(special.statistics.unwrap().non_finite >= 2);
    assert!(found.to_string().contains("not finite"));
}

#[test]
fn convert_writes_what_pytorch_opens() {
    let folder = tempfile::tempdir().unwrap();
    let trunk = folder.path().join("trunk.safetensors");
    let mut options = ConvertOptions {
        from: Dialect::Mae,
        to: Dialect::Timm,
        part: None,
        precision: None,
        trunk_only: true,
    };
    let done = convert(fixture("mae_pretrain.pth"), &trunk, &options).unwrap();
    assert!(
        done.left_out
            .iter()
            .all(|name| name.contains("decoder") || name.contains("mask"))
    );
    let wanted = expected(&fixture("expected/mae_pretrain_pth.safetensors"));
    let written = expected(&trunk);
    assert_eq!(written.len() + done.left_out.len(), wanted.len());
    for (name, tensor) in &written {
        assert_eq!(tensor, &wanted[&format!("model/{name}")]);
    }
    assert!(done.to_string().contains("load_state_dict"));

    // Into CLIP's names and half precision.
    let clip = folder.path().join("clip.safetensors");
    options.to = Dialect::Clip;
    options.precision = Some(Precision::Float16);
    convert(fixture("mae_pretrain.pth"), &clip, &options).unwrap();
    let written = expected(&clip);
    assert_eq!(written["visual.class_embedding"].0, "F16");
    assert_eq!(written["visual.class_embedding"].1, [8]);
    assert!(written.contains_key("visual.transformer.resblocks.1.attn.in_proj_bias"));

    let error = convert(
        fixture("mae_pretrain.pth"),
        folder.path().join("a.npz"),
        &options,
    );
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("end its name in .safetensors, .pth or .pkl")
    );
}

#[test]
fn diff_finds_what_differs() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut left = StateDict::new("left");
    left.insert("same", Tensor::from_slice(&[1_f32, f32::NAN]));
    left.insert("changed", Tensor::from_slice(&[2_f32, -4.0, 1.0]));
    left.insert("wider", Tensor::from_slice(&[1_f32]));
    left.insert("gone", Tensor::from_slice(&[1_f32]));
    left.insert("cast", Tensor::from_slice(&[1_f32]));
    left.write_safetensors(path("left.safetensors")).unwrap();
    let mut right = StateDict::new("right");
    right.insert("same", Tensor::from_slice(&[1_f32, f32::NAN]));
    right.insert("changed", Tensor::from_slice(&[2_f32, -3.0, 1.5]));
    right.insert("wider", Tensor::from_slice(&[1_f32, 2.0]));
    right.insert("new", Tensor::from_slice(&[1_f32]));
    right.insert("cast", Tensor::from_slice(&[1_f32]).to_kind(Kind::BFloat16));
    right.write_safetensors(path("right.safetensors")).unwrap();
    let side = DiffSide::default();
    let found = diff(
        (path("left.safetensors"), &side),
        (path("right.safetensors"), &side),
    )
    .unwrap();
    assert_eq!(
        (found.only_left.as_slice(), found.only_right.as_slice()),
        (&["gone".to_owned()][..], &["new".to_owned()][..])
    );
    assert_eq!(found.shapes[0].wanted, [2]);
    assert_eq!(found.identical, 1);
    // By hand: the largest difference is 1, the largest value on the left 4.
    let changed = &found.values[0];
    assert_eq!(
        (changed.name.as_str(), changed.max_abs, changed.relative),
        ("changed", 1.0, 0.25)
    );
    assert_eq!((changed.differing, changed.elements), (2, 3));
    let cast = &found.values[1];
    assert_eq!(
        cast.kinds,
        Some(("float32".to_owned(), "bfloat16".to_owned()))
    );
    assert_eq!((found.exit_status(), cast.max_abs), (1, 0.0));
    let text = found.to_string();
    assert!(
        text.contains("only left   gone") && text.contains("2 of 3"),
        "{text}"
    );
}

/// A checkpoint and its conversion hold the same weights, seen through their dialects.
#[test]
fn diff_reads_through_dialects() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.safetensors");
    let options = ConvertOptions {
        from: Dialect::Mae,
        to: Dialect::Clip,
        part: None,
        precision: None,
        trunk_only: false,
    };
    convert(fixture("mae_finetuned.pth"), &path, &options).unwrap();
    let side = |dialect| DiffSide {
        dialect: Some(dialect),
        part: None,
    };
    let found = diff(
        (fixture("mae_finetuned.pth"), &side(Dialect::Mae)),
        (&path, &side(Dialect::Clip)),
    )
    .unwrap();
    assert!(found.is_empty(), "{found}");
    assert_eq!(found.exit_status(), 0);
    assert_eq!(
        found.identical,
        exact_state(&StateDict::read(&path).unwrap()).len()
    );
    // Student against teacher of one file: all names in common, other values.
    let dino = |part: &str| DiffSide {
        dialect: Some(Dialect::Dino),
        part: Some(part.to_owned()),
    };
    let file = fixture("dino_full.pth");
    let found = diff((&file, &dino("student")), (&file, &dino("teacher"))).unwrap();
    assert!(found.only_left.is_empty() && !found.values.is_empty());
}

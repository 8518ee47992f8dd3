//! UperNets in the names of mmsegmentation 0.x and 1.x.
//!
//! Fixture: `parity/golden/upernet`, whose weights have DeepMIM's names: width 32, four blocks with
//! tables of relative positions of their own, 80 pixels in patches of 16.

use std::collections::BTreeMap;
use std::path::PathBuf;

use deepmim_backbone::relative_bias_index;
use deepmim_backbone::weights::{
    ConvertOptions, Dialect, DiffSide, StateDict, convert, diff, inspect,
};
use tch::{Device, Kind, Tensor};

use super::{Exact, exact, exact_state, fixture};

pub(super) const TABLE: &str = "attn.relative_position_bias_table";
const INDEX: &str = "attn.relative_position_index";

pub(super) fn upernet() -> PathBuf {
    fixture("../upernet/weights.safetensors")
}

/// What is in the file, by its own names.
fn theirs() -> BTreeMap<String, Exact> {
    exact_state(&StateDict::read(upernet()).unwrap())
}

pub(super) fn native() -> StateDict {
    Dialect::DeepmimSeg.read(upernet(), None).unwrap().state
}

/// The names of mmsegmentation 1.2.2's `MAE`, `Feature2Pyramid`, `UPerHead` and `FCNHead`, from
/// DeepMIM's: written down here a second time, by plain replacement.
fn names_1x(name: &str) -> String {
    [
        ("backbone.blocks.", "backbone.layers."),
        (".norm1.", ".ln1."),
        (".norm2.", ".ln2."),
        (".mlp.fc1.", ".ffn.layers.0.0."),
        (".mlp.fc2.", ".ffn.layers.1."),
        ("patch_embed.proj.", "patch_embed.projection."),
        ("backbone.fpn1.", "neck.upsample_4x."),
        ("backbone.fpn2.", "neck.upsample_2x."),
    ]
    .into_iter()
    .fold(name.to_owned(), |name, (from, to)| name.replace(from, to))
}

/// Every tensor but the constants, bit by bit; both dialects read the file.
#[test]
fn the_recorded_weights_arrive_under_native_names() {
    for dialect in [Dialect::DeepmimSeg, Dialect::Mmseg] {
        let read = dialect.read(upernet(), None).unwrap();
        let dropped: Vec<String> = (0..4)
            .map(|block| format!("backbone.blocks.{block}.{INDEX}"))
            .collect();
        assert_eq!(read.dropped, dropped);
        let ours = exact_state(&read.state);
        let mut wanted = theirs();
        wanted.retain(|name, _| !name.ends_with(INDEX));
        let wanted: BTreeMap<String, Exact> = wanted
            .into_iter()
            .map(|(name, tensor)| {
                let name = name.replace("gamma_1", "ls1.gamma");
                (name.replace("gamma_2", "ls2.gamma"), tensor)
            })
            .collect();
        assert_eq!(ours.len(), 157);
        assert_eq!(ours, wanted, "{dialect}");
        assert_eq!(
            ours["decode_head.fpn_convs.2.bn.num_batches_tracked"].0,
            "I64"
        );
    }
}

/// The index is computed anew, and is the recorded one.
#[test]
fn deepmims_names_are_written_as_they_were_read() {
    let written = Dialect::DeepmimSeg.from_native(native()).unwrap();
    assert_eq!(exact_state(&written), theirs());
    let index = relative_bias_index(5, 5);
    let recorded = StateDict::read(upernet()).unwrap();
    let recorded = recorded.get(&format!("backbone.blocks.3.{INDEX}")).unwrap();
    assert_eq!(exact(&index), exact(recorded));
}

#[test]
fn names_of_1x_are_written_and_read_back() {
    let written = exact_state(&Dialect::Mmseg.from_native(native()).unwrap());
    let wanted: BTreeMap<String, Exact> = theirs()
        .into_iter()
        .map(|(name, tensor)| (names_1x(&name), tensor))
        .collect();
    assert_eq!(written, wanted);
    for name in [
        "backbone.layers.3.ffn.layers.0.0.bias",
        "backbone.layers.0.attn.relative_position_index",
        "backbone.patch_embed.projection.weight",
        "neck.upsample_4x.1.num_batches_tracked",
        "neck.upsample_2x.0.weight",
        "decode_head.psp_modules.3.1.conv.weight",
    ] {
        assert!(written.contains_key(name), "{name}");
    }
    for dialect in [Dialect::Mmseg, Dialect::DeepmimSeg] {
        let back = dialect
            .to_native(Dialect::Mmseg.from_native(native()).unwrap())
            .unwrap();
        assert_eq!(exact_state(&back), exact_state(&native()), "{dialect}");
    }
}

/// BEiT of 1.x has biases for queries and values alone; wrappers and optimisers are in the way.
#[test]
fn a_wrapped_beit_of_1x_is_read() {
    let mut state = StateDict::new("beit.pth");
    let pair = |a: f32| Tensor::from_slice(&[a, a + 1.0]);
    for (name, tensor) in [
        ("state_dict/module.backbone.layers.0.attn.q_bias", pair(1.0)),
        ("state_dict/module.backbone.layers.0.attn.v_bias", pair(3.0)),
        ("state_dict/module.backbone.ln1.weight", pair(5.0)),
        ("state_dict/module.decode_head.conv_seg.bias", pair(7.0)),
        ("optimizer/state/0/exp_avg", pair(9.0)),
    ] {
        state.insert(name, tensor);
    }
    let native = Dialect::Mmseg.to_native(state).unwrap();
    assert_eq!(
        native.names().collect::<Vec<_>>(),
        [
            "backbone.blocks.0.attn.qkv.bias",
            "backbone.norm.weight",
            "decode_head.conv_seg.bias"
        ]
    );
    let bias = Tensor::from_slice(&[1_f32, 2.0, 0.0, 0.0, 3.0, 4.0]);
    let found = native.get("backbone.blocks.0.attn.qkv.bias").unwrap();
    assert_eq!(exact(found), exact(&bias));
}

/// 1.x has no shared tables: each block gets the one they share, which computes the same.
#[test]
fn a_shared_table_is_written_as_its_project_has_it() {
    let shared = || {
        let mut state = StateDict::new("shared");
        let table = Tensor::arange(28 * 2, (Kind::Float, Device::Cpu)).view([28, 2]);
        state.insert("backbone.rel_pos_bias.relative_position_bias_table", table);
        for block in [0, 1, 10] {
            let name = format!("backbone.blocks.{block}.norm1.bias");
            state.insert(name, Tensor::from(1_f32));
        }
        state
    };
    let written = Dialect::DeepmimSeg.from_native(shared()).unwrap();
    let index = written
        .get("backbone.rel_pos_bias.relative_position_index")
        .unwrap();
    assert_eq!(exact(index), exact(&relative_bias_index(3, 3)));
    assert_eq!(written.len(), 5);
    let written = exact_state(&Dialect::Mmseg.from_native(shared()).unwrap());
    assert_eq!(written.len(), 9);
    let table = &exact_state(&shared())["backbone.rel_pos_bias.relative_position_bias_table"];
    for block in [0, 1, 10] {
        let at = format!("backbone.layers.{block}.");
        assert_eq!(&written[&format!("{at}{TABLE}")], table);
        assert_eq!(
            written[&format!("{at}{INDEX}")],
            exact(&relative_bias_index(3, 3))
        );
    }
    // A table of a block's own would be lost.
    let mut state = shared();
    let name = format!("backbone.blocks.10.{TABLE}");
    state.insert(
        name.clone(),
        Tensor::zeros([28, 2], (Kind::Float, Device::Cpu)),
    );
    let message = Dialect::Mmseg.from_native(state).unwrap_err().to_string();
    assert!(
        message.contains(&format!("both be named {name}")),
        "{message}"
    );
}

#[test]
fn an_index_that_cannot_be_told_is_one_clear_sentence() {
    let mut state = StateDict::new("oblong");
    let table = |rows| Tensor::zeros([rows, 2], (Kind::Float, Device::Cpu));
    let name = format!("backbone.blocks.0.{TABLE}");
    for rows in [5 * 7 + 3, 0, 257 * 257 + 3] {
        state.insert(name.clone(), table(rows));
        let error = Dialect::Mmseg.from_native(state).unwrap_err().to_string();
        assert!(
            error.contains(&format!("{name} has {rows} rows")),
            "{error}"
        );
        assert!(error.contains("write the native dialect"), "{error}");
        state = StateDict::new("oblong");
    }
    // One row of five patches: as many offsets as three by three have.
    state.insert(name, table(9 + 3));
    state.insert(
        "backbone.pos_embed",
        Tensor::zeros([1, 6, 2], (Kind::Float, Device::Cpu)),
    );
    assert!(Dialect::Mmseg.from_native(state).is_err());
}

#[test]
fn other_files_are_refused() {
    for dialect in [Dialect::Mmseg, Dialect::DeepmimSeg] {
        for file in ["mae_pretrain.pth", "detectron2.pth", "dino_full.pth"] {
            let message = dialect.read(fixture(file), None).unwrap_err().to_string();
            let wanted = format!("holds no weights where the {dialect} dialect keeps them");
            assert!(message.contains(&wanted), "{message}");
        }
    }
    let message = Dialect::Mmseg
        .read(upernet(), Some("ema_state_dict"))
        .unwrap_err()
        .to_string();
    assert!(message.contains("(under ema_state_dict)"), "{message}");
    // A file with nothing but what is left out says what it holds.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("indices.safetensors");
    let name = "backbone.blocks.0.attn.relative_position_index";
    let mut state = StateDict::new("indices");
    state.insert(name, Tensor::zeros([2, 2], (Kind::Int64, Device::Cpu)));
    state.write_safetensors(&file).unwrap();
    let message = Dialect::DeepmimSeg
        .read(&file, None)
        .unwrap_err()
        .to_string();
    assert!(message.contains(name), "{message}");
    // The same weights in both languages at once.
    let mut state = StateDict::new("both");
    for name in ["backbone.blocks.0.norm1.bias", "backbone.layers.0.ln1.bias"] {
        state.insert(name, Tensor::from(1_f32));
    }
    let message = Dialect::Mmseg.to_native(state).unwrap_err().to_string();
    assert!(
        message.contains("two tensors would both be named backbone.blocks.0.norm1.bias"),
        "{message}"
    );
}

/// Through files: 0.x to 1.x to our own names and back; seen through their dialects all are equal.
#[test]
fn whole_segmentors_are_converted_inspected_and_compared() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut from = (upernet(), Dialect::DeepmimSeg);
    for (name, to, guess) in [
        ("mmseg.pth", Dialect::Mmseg, Dialect::Mmseg),
        ("native.safetensors", Dialect::Native, Dialect::Native),
        ("deepmim.pth", Dialect::DeepmimSeg, Dialect::DeepmimSeg),
    ] {
        let options = ConvertOptions {
            from: from.1,
            to,
            part: None,
            precision: None,
            trunk_only: false,
        };
        let done = convert(&from.0, path(name), &options).unwrap();
        assert!(done.left_out.is_empty());
        let found = inspect(path(name), false).unwrap();
        assert_eq!(found.guess.unwrap().dialect, Some(guess), "{name}");
        let vit = found.vit.unwrap();
        assert_eq!((vit.width, vit.depth, vit.image_size), (32, 4, Some(80)));
        assert_eq!((vit.classes, vit.mlp_ratio), (Some(9), 4.0));
        if name.ends_with(".pth") {
            assert!(done.to_string().contains("[\"state_dict\"])"), "{done}");
        }
        let side = |dialect| DiffSide {
            dialect: Some(dialect),
            part: None,
        };
        let first = (upernet(), side(Dialect::Mmseg));
        let found = diff((&first.0, &first.1), (path(name), &side(to))).unwrap();
        assert!(found.is_empty(), "{found}");
        assert_eq!(found.identical, 157);
        from = (path(name), to);
    }
    let last = exact_state(&StateDict::read(&from.0).unwrap().section("state_dict"));
    assert_eq!(last, theirs());
}

"""Opens checkpoints that `deepmim checkpoint convert` writes with the programs they are written for.

Every file of parity/golden/checkpoints that some dialect reads is converted to .pth, .pt, .pkl and
.safetensors and opened with torch.load(weights_only=True), pickle.load and safetensors; tensors must be
equal bit by bit. With --detectron2, a ViTDet-B Mask R-CNN with random weights goes out through
torch.save, through our .pth and .pkl, and back in through DetectionCheckpointer, which must report
nothing missing and nothing unexpected; and a bare trunk must find its place in it by the ends of names.
With --released, a checkout of OliverRensu/DeepMIM, and mmsegmentation 1.2.2 (benches/requirements.txt), a
small UperNet with random weights on the released trunk goes out through torch.save, through our .pth, and
back in; and, its names changed to mmsegmentation 1.x's, into mmsegmentation's own trunk, which must then
give the same logits and go through our .pth again.

    python parity/checkpoint_writing.py --deepmim deepmim [--detectron2 CHECKOUT] [--released CHECKOUT]
"""

import argparse
import logging
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
import safetensors.torch
import torch

FIXTURE = Path(__file__).parent / "golden" / "checkpoints"
CASES = [
    ("mae_pretrain.pth", "mae", "model"),
    ("deepmim_pretrain.pth", "mae", "model"),
    ("timm_bare.pth", "timm", None),
    ("detectron2.pth", "detectron2", "model"),
]


def convert(program, source, target, dialect, to, *more):
    command = [program, "checkpoint", "convert", source, target, "--from", dialect, "--to", to, *more]
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout


def same(left, right):
    assert set(left) == set(right), set(left) ^ set(right)
    for name in left:
        a, b = torch.as_tensor(left[name]), torch.as_tensor(right[name])
        assert a.dtype == b.dtype and a.shape == b.shape, name
        assert a.contiguous().numpy().tobytes() == b.contiguous().numpy().tobytes(), name


def plain_files(program, folder):
    checked = 0
    for file, dialect, section in CASES:
        wanted = torch.load(FIXTURE / file, weights_only=False)
        wanted = wanted[section] if section else wanted
        for ending in ["pth", "pt", "pkl", "safetensors"]:
            target = folder / f"{dialect}.{ending}"
            convert(program, FIXTURE / file, target, dialect, dialect, "--overwrite")
            if ending == "safetensors":
                found = safetensors.torch.load_file(target)
            elif ending == "pkl":
                found = pickle.loads(target.read_bytes())
                assert found["__author__"] == "deepmim"
                found = {name: numpy.array(array) for name, array in found["model"].items()}
            else:
                found = torch.load(target, weights_only=True)
                found = found[section] if section else found
                mapped = torch.load(target, weights_only=True, mmap=True)
                same(found, mapped[section] if section else mapped)
            same(wanted, found)
            checked += 1
    print(f"{checked} files opened with torch {torch.__version__}, numpy {numpy.__version__}: equal bit by bit")


def detectron2_files(program, folder, checkout):
    sys.path.insert(0, str(checkout))
    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.config import LazyConfig, instantiate

    config = LazyConfig.load(str(checkout / "projects/ViTDet/configs/COCO/mask_rcnn_vitdet_b_100ep.py"))
    torch.manual_seed(0)
    model = instantiate(config.model)
    wanted = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.save({"model": wanted, "iteration": 7}, folder / "reference.pth")
    logging.basicConfig(level=logging.WARNING)
    for ending in ["pth", "pkl"]:
        target = folder / f"detector.{ending}"
        print(convert(program, folder / "reference.pth", target, "detectron2", "detectron2", "--overwrite"), end="")
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
        checkpointer = DetectionCheckpointer(model)
        loaded = {}
        own = checkpointer._load_model
        checkpointer._load_model = lambda checkpoint: loaded.setdefault("report", own(checkpoint))
        checkpointer.load(str(target))
        report = loaded["report"]
        assert not report.missing_keys and not report.unexpected_keys and not report.incorrect_shapes, report
        same(wanted, model.state_dict())
        os.remove(target)
        print(f"DetectionCheckpointer: {len(wanted)} tensors from .{ending}, nothing missing, equal bit by bit")

    # A bare trunk, which detectron2 puts into the detector by the ends of names.
    trunk = folder / "trunk.pkl"
    convert(program, folder / "reference.pth", trunk, "detectron2", "mae", "--overwrite")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    DetectionCheckpointer(model).load(str(trunk))
    net = "backbone.net."
    found = {name: tensor for name, tensor in model.state_dict().items() if name.startswith(net)}
    same({name: tensor for name, tensor in wanted.items() if name.startswith(net)}, found)
    print(f"DetectionCheckpointer: {len(found)} tensors of a bare trunk found by the ends of their names")


def segmentors(checkout):
    """The released trunk and mmsegmentation 1.x's, small, under the same heads."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benches"))
    import segmentation

    released = segmentation.released_trunk(checkout)
    from mmseg.registry import MODELS

    sizes = dict(img_size=64, patch_size=16, depth=4, num_heads=2, mlp_ratio=4, init_values=1.0, drop_path_rate=0.0)
    old = released(
        **sizes, embed_dim=32, qkv_bias=True, use_rel_pos_bias=True, out_indices=[0, 1, 2, 3], fpn1_norm="BN"
    )
    sizes["num_layers"] = sizes.pop("depth")
    sizes["img_size"] = (64, 64)
    trunk = MODELS.get("MAE")(**sizes, embed_dims=32, out_indices=[0, 1, 2, 3])
    norm = dict(type="BN", requires_grad=True)
    neck = MODELS.build(dict(type="Feature2Pyramid", embed_dim=32, rescales=[4, 2, 1, 0.5], norm_cfg=norm))
    head = dict(num_classes=5, norm_cfg=norm, align_corners=False, dropout_ratio=0.0)
    decode = MODELS.build(dict(
        type="UPerHead", in_channels=[32] * 4, in_index=[0, 1, 2, 3], pool_scales=(1, 2, 3, 6), channels=16, **head))
    auxiliary = MODELS.build(dict(
        type="FCNHead", in_channels=32, in_index=2, channels=16, num_convs=1, concat_input=False, **head))
    heads = dict(decode_head=decode, auxiliary_head=auxiliary)
    return torch.nn.ModuleDict(dict(backbone=old, **heads)), torch.nn.ModuleDict(dict(backbone=trunk, neck=neck, **heads))


def segmentor_files(program, folder, checkout):
    torch.manual_seed(0)
    old, new = segmentors(checkout)
    with torch.no_grad():
        for tensor in [*old.parameters(), *old.buffers()]:
            if tensor.is_floating_point():
                tensor.uniform_(0.1, 0.9)
    torch.save({"state_dict": old.state_dict(), "meta": {"epoch": 3}}, folder / "released.pth")
    convert(program, folder / "released.pth", folder / "again.pth", "deepmim_seg", "deepmim_seg")
    found = torch.load(folder / "again.pth", weights_only=True)["state_dict"]
    same(old.state_dict(), found)
    print(f"released segmentor: {len(found)} tensors, equal bit by bit")

    convert(program, folder / "released.pth", folder / "mmseg.pth", "deepmim_seg", "mmseg")
    new.load_state_dict(torch.load(folder / "mmseg.pth", weights_only=True)["state_dict"], strict=True)
    old.eval(), new.eval()
    with torch.no_grad():
        picture = torch.randn(2, 3, 64, 64)
        wanted = old["decode_head"](old["backbone"](picture))
        logits = new["decode_head"](new["neck"](new["backbone"](picture)))
    worst = float((logits - wanted).abs().max() / wanted.abs().max())
    assert worst < 1e-5, worst
    torch.save({"state_dict": new.state_dict()}, folder / "new.pth")
    convert(program, folder / "new.pth", folder / "new_again.pth", "mmseg", "mmseg")
    same(new.state_dict(), torch.load(folder / "new_again.pth", weights_only=True)["state_dict"])
    print(f"mmsegmentation: nothing missing or unexpected, logits within {worst:.0e} of the released trunk's")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deepmim", required=True, help="the program, or deepmim-model itself")
    parser.add_argument("--detectron2", type=Path, help="a checkout of facebookresearch/detectron2")
    parser.add_argument("--released", type=Path, help="a checkout of OliverRensu/DeepMIM")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        plain_files(options.deepmim, Path(folder))
        if options.detectron2:
            detectron2_files(options.deepmim, Path(folder), options.detectron2)
        if options.released:
            segmentor_files(options.deepmim, Path(folder), options.released)


if __name__ == "__main__":
    main()

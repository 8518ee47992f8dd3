"""UperNet on ViT-B at full size, deepmim against DeepMIM's released trunk under mmsegmentation's heads, side by side.

    python -m venv seg && seg/bin/pip install -r benches/requirements.txt
    seg/bin/pip install --no-deps mmsegmentation==1.2.2 mmcv-lite==2.1.0 mmengine==0.10.7
    git clone https://github.com/OliverRensu/DeepMIM DeepMIM
    seg/bin/python benches/segmentation.py --deepmim DeepMIM [--mode whole] [--mode slide] [--mode train]

Same weights, same drawn pictures, float32 on the CPU, 150 classes, windows of 512 pixels.

- whole: one picture of 512 x 512 pixels in memory to its label map.
- slide: one of 996 x 640 (six windows, 341 pixels apart, one after the other) to its label map.
- train: two pictures of 512 x 512: clear gradients, forward, losses, backward, AdamW.
- train-checkpointing: the same, each block of the trunk computed again in the backward pass.

First both sides say what they find (label maps; losses), and the script stops where they differ. Then they
take turns, a process of some rounds each; medians over all rounds but the first of each process are compared,
and the largest peak resident memory of its processes (VmHWM). The limit is the time that the counted
multiplications of the reference would take at the rate of one large matrix product, the best of several
measured between the turns on the same threads. `--side reference` alone measures the reference.

Dropout and drop path are 0 on both sides, so that every round is the same work. BatchNorm is nn.BatchNorm2d,
which nn.SyncBatchNorm is in one process.

The Rust side is an example of the crate `segmentation`:

    segmentation_speed --mode whole|slide|train --weights FILE.pth --picture FILE.png.. --labels FILE.png..
                       --rounds N --threads N [--checkpointing] [--record FILE]

It prints one line of JSON: {"seconds": [...], "peak_mib": ..., "stages": {name: seconds}}. --record writes what
the first round found: a label map as bytes, row by row, or {"losses": {name: value}}.
"""

import argparse
import json
import pathlib
import sys
import tempfile
import time
import types
import warnings

import numpy
import torch

sys.dont_write_bytecode = True  # a benchmark leaves nothing in the clone
import turns

SIZE, STRIDE, CLASSES, IGNORED = 512, 341, 150, 255
MODES = ("whole", "slide", "train", "train-checkpointing")
MEAN, DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
LEARNING_RATE, WEIGHT_DECAY, LAYER_DECAY = 5e-5, 0.05, 0.9
SAME_PIXELS, LOSS = 0.999, 1e-4  # float32 in another order of summation: near ties may fall either way


# --------------------------------------------------------------------------------- the reference's side


def released_trunk(checkout):
    """The class of DeepMIM's segmentation trunk; mmsegmentation is ready after it."""
    # mmcv-lite has no compiled operators. None is called here, but mmsegmentation asks for them when imported.
    operators = types.ModuleType("mmcv._ext")
    operators.__getattr__ = lambda name: (lambda *_: None) if not name.startswith("__") else None
    sys.modules["mmcv._ext"] = operators
    from mmseg.models.builder import BACKBONES
    from mmseg.utils import register_all_modules

    # What the trunk's file imports from versions that no longer install, and uses to load files only.
    unused = types.ModuleType("mmcv_custom")
    unused.load_checkpoint = None
    sys.modules["mmcv_custom"] = unused
    utilities = types.ModuleType("mmseg_utils_of_0_11")
    utilities.get_root_logger = None
    own, sys.modules["mmseg.utils"] = sys.modules["mmseg.utils"], utilities
    newer = BACKBONES.module_dict.pop("MAE")  # 1.x has one of its own by this name
    file = checkout / "Segmentation" / "backbone" / "mae.py"
    trunk = types.ModuleType("released_trunk")
    exec(compile(file.read_text(), str(file), "exec"), trunk.__dict__)
    sys.modules["mmseg.utils"] = own
    BACKBONES.module_dict["MAE"] = newer
    register_all_modules(init_default_scope=True)
    return trunk.MAE


def reference_model(checkout):
    """The released trunk inside mmsegmentation's EncoderDecoder, as its recipe for ADE20K has it."""
    trunk = released_trunk(checkout)
    from mmengine.config import ConfigDict
    from mmseg.models.builder import BACKBONES
    from mmseg.models.segmentors import EncoderDecoder

    BACKBONES.module_dict["MAE"] = trunk
    norm = dict(type="BN", requires_grad=True)
    head = dict(
        num_classes=CLASSES, norm_cfg=norm, align_corners=False, dropout_ratio=0.0,
    )
    return EncoderDecoder(
        backbone=dict(
            type="MAE", img_size=SIZE, patch_size=16, embed_dim=768, depth=12, num_heads=12, mlp_ratio=4,
            qkv_bias=True, use_abs_pos_emb=True, use_rel_pos_bias=True, init_values=1.0, drop_path_rate=0.0,
            out_indices=[3, 5, 7, 11], fpn1_norm="BN",
        ),
        decode_head=dict(
            type="UPerHead", in_channels=[768] * 4, in_index=[0, 1, 2, 3], pool_scales=(1, 2, 3, 6), channels=768,
            loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0), **head,
        ),
        auxiliary_head=dict(
            type="FCNHead", in_channels=768, in_index=2, channels=256, num_convs=1, concat_input=False,
            loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=0.4), **head,
        ),
        train_cfg=dict(), test_cfg=ConfigDict(mode="slide", crop_size=(SIZE, SIZE), stride=(STRIDE, STRIDE)),
    )


def layer_groups(model):
    """The recipe's groups: layer decay over the trunk, no weight decay for what has one axis."""
    depth, groups = len(model.backbone.blocks), {}
    for name, parameter in model.named_parameters():
        layer = depth + 1
        if name.startswith(("backbone.cls_token", "backbone.pos_embed", "backbone.patch_embed")):
            layer = 0
        elif name.startswith("backbone.blocks."):
            layer = int(name.split(".")[2]) + 1
        decay = 0.0 if parameter.ndim == 1 or name.endswith(".bias") else WEIGHT_DECAY
        groups.setdefault((layer, decay), []).append(parameter)
    return [
        dict(params=of, lr=LEARNING_RATE * LAYER_DECAY ** (depth + 1 - layer), weight_decay=decay)
        for (layer, decay), of in groups.items()
    ]


def pixels_of(path):
    from PIL import Image

    return torch.as_tensor(numpy.array(Image.open(path)))


def run_reference(options):
    warnings.filterwarnings("ignore")
    torch.set_num_threads(options.threads)
    model = reference_model(options.deepmim)
    model.load_state_dict(torch.load(options.weights, weights_only=True)["state_dict"])
    model.to(turns.DEVICE)
    pictures = [pixels_of(path).permute(2, 0, 1).to(turns.DEVICE) for path in options.picture]
    mean, deviation = (torch.tensor(of, device=turns.DEVICE).view(3, 1, 1) for of in (MEAN, DEVIATION))
    stages = turns.Stages()

    def batch():
        return torch.stack([(picture.float() - mean) / deviation for picture in pictures])

    if options.side_mode != "train":
        stages.watch(model.backbone, "forward", "maps")
        stages.watch(model.decode_head, "forward", "head")
        model.eval()

        def one_round():
            with torch.no_grad():
                inputs = batch()
                meta = [dict(ori_shape=inputs.shape[2:], img_shape=inputs.shape[2:])]
                logits = (model.whole_inference if options.side_mode == "whole" else model.slide_inference)(inputs, meta)
                return logits.argmax(dim=1)[0]

        record = lambda labels: pathlib.Path(options.record).write_bytes(labels.to(torch.uint8).numpy().tobytes())
    else:
        from mmengine.structures import PixelData
        from mmseg.structures import SegDataSample

        samples = []
        for path in options.labels:
            sample = SegDataSample(metainfo=dict(img_shape=(SIZE, SIZE)))
            sample.gt_sem_seg = PixelData(data=pixels_of(path)[None].long().to(turns.DEVICE))
            samples.append(sample)
        model.train()
        model.backbone.use_checkpoint = options.checkpointing
        optimizer = torch.optim.AdamW(layer_groups(model), betas=(0.9, 0.999))

        def one_round():
            optimizer.zero_grad()
            start = time.perf_counter()
            with turns.autocast():
                losses = model.loss(batch(), samples)
            middle = time.perf_counter()
            sum(loss for name, loss in losses.items() if "loss" in name).backward()
            end = time.perf_counter()
            optimizer.step()
            stages.add("forward", middle - start)
            stages.add("backward", end - middle)
            stages.add("update", time.perf_counter() - end)
            return {name: loss.item() for name, loss in losses.items()}

        record = lambda losses: pathlib.Path(options.record).write_text(json.dumps(dict(losses=losses)))
    turns.timed_rounds(one_round, options.rounds, stages, options.count, options.record and record)


# ------------------------------------------------------------------------------------------- the match


def draw(generator, width, height):
    """A picture of soft blobs and its label map: rectangles of classes, a tenth of them ignored."""
    from PIL import Image

    coarse = generator.integers(0, 256, (height // 32 + 1, width // 32 + 1, 3), dtype=numpy.uint8)
    picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    grid = generator.integers(0, CLASSES, (height // 64 + 1, width // 64 + 1), dtype=numpy.uint8)
    grid[generator.random(grid.shape) < 0.1] = IGNORED
    return picture, Image.fromarray(grid).resize((width, height), Image.Resampling.NEAREST)


def prepare(folder, checkout):
    """Pictures, and weights under which classes differ: random biases and norms, running statistics of a pass."""
    generator = numpy.random.default_rng(5)
    for name, width, height in [("first", SIZE, SIZE), ("second", SIZE, SIZE), ("wide", 996, 640)]:
        picture, labels = draw(generator, width, height)
        picture.save(folder / f"{name}.png")
        labels.save(folder / f"{name}_labels.png")
    torch.manual_seed(7)
    model = reference_model(checkout)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("relative_position_bias_table"):
                parameter.normal_(std=0.5)
            elif name.endswith("conv_seg.weight"):
                parameter.normal_(std=0.2)
            elif parameter.ndim == 1 and name.endswith(".bias"):
                parameter.normal_(std=0.2)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
        model.train()
        pair = [pixels_of(folder / f"{name}.png").permute(2, 0, 1).float() for name in ("first", "second")]
        mean, deviation = (torch.tensor(of).view(3, 1, 1) for of in (MEAN, DEVIATION))
        maps = model.extract_feat(torch.stack([(picture - mean) / deviation for picture in pair]))
        model.decode_head(maps)
        model.auxiliary_head(maps)
    torch.save({"state_dict": model.state_dict()}, folder / "weights.pth")


def turn(side, options, folder, mode, rounds, *more):
    """One process of a side; what it measured."""
    own = [sys.executable, __file__, "--worker", "--deepmim", options.deepmim]
    command = own if side == "reference" else [options.program]
    names = dict(whole=["first"], slide=["wide"]).get(mode, ["first", "second"])
    command += ["--mode", mode.split("-")[0], "--weights", folder / "weights.pth", "--rounds", rounds]
    command += ["--threads", options.threads]
    for name in names:
        command += ["--picture", folder / f"{name}.png", "--labels", folder / f"{name}_labels.png"]
    command += ["--checkpointing"] if mode == "train-checkpointing" else []
    return turns.turn(side, mode, command + list(more), options.threads, options.own_libtorch)


def compare(options, folder):
    """Stops where the two sides see different things."""
    for mode in dict.fromkeys(mode.split("-")[0] for mode in options.mode):
        found = {}
        for side in ("reference", "deepmim"):
            path = folder / f"{side}_{mode}"
            turn(side, options, folder, mode, 1, "--record", path)
            found[side] = path.read_bytes()
        if mode == "train":
            theirs, ours = (json.loads(found[side])["losses"] for side in ("reference", "deepmim"))
            worst = max(abs(ours[name] - value) / max(abs(value), 1e-3) for name, value in theirs.items())
            print(f"losses and accuracies: largest relative difference {worst:.1e} (allowed {LOSS:g})")
            if worst > LOSS:
                sys.exit(f"they differ: {theirs} and {ours}")
        else:
            theirs, ours = (numpy.frombuffer(found[side], numpy.uint8) for side in ("reference", "deepmim"))
            same = float((theirs == ours).mean()) if theirs.shape == ours.shape else 0.0
            classes = len(numpy.unique(theirs))
            print(f"{mode}: {same:.4%} of {theirs.size} pixels have the same class, {classes} classes among them")
            if same < SAME_PIXELS or classes < 10:
                sys.exit("the label maps differ, or show too little")


def measure(options, folder):
    sides = [options.side] if options.side else ["deepmim", "reference"]
    if len(sides) == 2:
        with turns.in_float32():
            compare(options, folder)
    print(turns.machine(options.threads))
    for mode in options.mode:
        def one_turn(side, count, mode=mode):
            return turn(side, options, folder, mode, options.rounds + 1, *(["--count"] if count else []))

        turns.measure(mode, sides, options.turns, options.threads, one_turn)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deepmim", type=pathlib.Path, required=True, help="a checkout of OliverRensu/DeepMIM")
    turns.options(parser, MODES, ("deepmim", "reference"))
    worker = parser.add_argument_group("inside a process of the reference's side")
    for name in ("worker", "checkpointing", "count"):
        worker.add_argument(f"--{name}", action="store_true")
    for name in ("weights", "record"):
        worker.add_argument(f"--{name}")
    for name in ("picture", "labels"):
        worker.add_argument(f"--{name}", action="append")
    options = parser.parse_args()
    turns.tell(options)
    if options.worker:
        options.side_mode = options.mode[0]
        return run_reference(options)
    options.mode = list(dict.fromkeys(options.mode or MODES))
    if options.side != "reference":
        options.program = options.program or turns.build("deepmim-segmentation", "segmentation_speed")
    with tempfile.TemporaryDirectory() as folder:
        warnings.filterwarnings("ignore")
        prepare(pathlib.Path(folder), options.deepmim)
        measure(options, pathlib.Path(folder))


if __name__ == "__main__":
    main()

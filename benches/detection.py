"""ViTDet-B Mask R-CNN at full size, deepmim against detectron2, side by side.

    python -m venv d2 && d2/bin/pip install -r parity/requirements-detection.txt
    git clone https://github.com/facebookresearch/detectron2 detectron2
    d2/bin/python benches/detection.py --detectron2 detectron2 [--mode infer] [--mode train] [--mode train-checkpointing]

Same weights, same drawn picture of 1024 x 1024 pixels, float32 on the CPU, one picture at a time.

- infer: picture in memory to boxes, scores, classes and full-size masks.
- train: clear gradients, forward, losses, backward, AdamW with the recipe's groups.
- train-checkpointing: the same, each block of the trunk computed again in the backward pass.

First both sides say what they find (detections; losses with nothing sampled away), and the script stops
where they differ. Then they take turns, a process of some rounds each; medians over all rounds but the first
of each process are compared, and the largest peak resident memory of its processes (VmHWM). The limit is the
time that the counted multiplications would take at the rate of one large matrix product, the best of several
measured between the turns on the same threads; convolutions can be a little faster. `--side detectron2` alone
measures detectron2.

The Rust side is an example of the crate `detection`:

    detection_speed --mode infer|train --weights FILE.pth --picture FILE.png --annotations FILE.json
                    --rounds N --threads N [--checkpointing] [--sample-everything] [--record FILE.json]

It prints one line of JSON: {"seconds": [...], "peak_mib": ..., "stages": {name: seconds}}. FILE.json holds
[{"bbox": [x0, y0, x1, y1], "category_id": 0, "segmentation": [[x, y, ...]]}, ...] in pixels of the picture.
--record writes {"boxes", "scores", "classes", "mask_areas"} or {"losses": {name: value}} of the first round;
--sample-everything raises the RPN's and the ROI heads' batch above all anchors and proposals and their
positive fractions to 0.5 and 1.
"""

import argparse
import json
import pathlib
import sys
import tempfile
import time
import warnings

import torch

sys.dont_write_bytecode = True  # a benchmark leaves nothing in the clone
import turns
SIZE = 1024
MODES = ("infer", "train", "train-checkpointing")
EVERYTHING = 1 << 20  # more than there are anchors or proposals

# Float32 in another order of summation, through twelve blocks and the exponentials of scores and boxes.
SCORE, BOX, AREA, LOSS = 2e-3, 0.5, 0.02, 2e-4
FOUND = 0.97  # share of detections that must have a partner: near ties in NMS may fall either way


# ---------------------------------------------------------------------------------- detectron2's side


def detectron2_model(checkout, everything):
    sys.path.insert(0, str(checkout))
    configs = checkout / "detectron2" / "model_zoo" / "configs"
    if not configs.exists():  # what detectron2's own setup.py does
        configs.symlink_to("../../configs")
    from detectron2.config import LazyConfig, instantiate

    config = LazyConfig.load(str(checkout / "projects/ViTDet/configs/COCO/mask_rcnn_vitdet_b_100ep.py"))
    if everything:
        config.model.proposal_generator.batch_size_per_image = EVERYTHING
        config.model.roi_heads.batch_size_per_image = EVERYTHING
        config.model.roi_heads.positive_fraction = 1.0
    config.model.backbone.net.drop_path_rate = 0.0  # the same work in every round
    return instantiate(config.model), config


def sample_of(options):
    import numpy
    from detectron2.structures import Boxes, Instances, PolygonMasks
    from PIL import Image

    pixels = numpy.array(Image.open(options.picture).convert("RGB"))
    height, width = pixels.shape[:2]
    annotations = json.loads(pathlib.Path(options.annotations).read_text())
    instances = Instances((height, width))
    instances.gt_boxes = Boxes(torch.tensor([a["bbox"] for a in annotations], dtype=torch.float32))
    instances.gt_classes = torch.tensor([a["category_id"] for a in annotations])
    instances.gt_masks = PolygonMasks([[numpy.array(p) for p in a["segmentation"]] for a in annotations])
    image = torch.as_tensor(numpy.ascontiguousarray(pixels.transpose(2, 0, 1)))
    return dict(image=image, height=height, width=width, instances=instances)


def checkpoint_blocks(model):
    """detectron2 asks fairscale for this; PyTorch's own does the same."""
    from torch.utils.checkpoint import checkpoint

    for block in model.backbone.net.blocks:
        own = block.forward
        block.forward = lambda x, own=own: checkpoint(own, x, use_reentrant=False)


def run_detectron2(options):
    warnings.filterwarnings("ignore")
    torch.set_num_threads(options.threads)
    model, config = detectron2_model(options.detectron2, options.sample_everything)
    model.load_state_dict(torch.load(options.weights, weights_only=True)["model"])
    model.to(turns.DEVICE)
    sample = sample_of(options)
    stages = turns.Stages()
    for owner, attribute, name in [
        (model, "preprocess_image", "preprocess"), (model.backbone, "forward", "backbone"),
        (model.proposal_generator, "forward", "rpn"), (model.roi_heads, "forward", "roi_heads"),
    ]:
        stages.watch(owner, attribute, name)
    if options.side_mode == "infer":
        model.eval()

        def one_round():
            with torch.no_grad():
                return model.inference([sample])[0]["instances"]

    else:
        from detectron2.config import instantiate
        from detectron2.utils.events import EventStorage

        model.train()
        config.optimizer.params.model = model
        optimizer = instantiate(config.optimizer)
        if options.checkpointing:
            checkpoint_blocks(model)

        def one_round():
            optimizer.zero_grad()
            with EventStorage(0), turns.autocast():
                losses = model([sample])
            start = time.perf_counter()
            sum(losses.values()).backward()
            middle = time.perf_counter()
            optimizer.step()
            stages.add("backward", middle - start)
            stages.add("update", time.perf_counter() - middle)
            return {name: loss.item() for name, loss in losses.items()}

    turns.timed_rounds(
        one_round, options.rounds, stages, options.count,
        options.record and (lambda result: record(options.record, result)),
    )


def record(path, result):
    if isinstance(result, dict):
        answer = dict(losses=result)
    else:
        answer = dict(
            boxes=result.pred_boxes.tensor.tolist(), scores=result.scores.tolist(),
            classes=result.pred_classes.tolist(), mask_areas=result.pred_masks.flatten(1).sum(dim=1).tolist(),
        )
    pathlib.Path(path).write_text(json.dumps(answer))


# ------------------------------------------------------------------------------------------- the match


def prepare(folder, checkout):
    """Weights whose scores differ, and the picture."""
    import numpy

    sys.path.insert(0, str(turns.ROOT / "parity"))
    import vitdet

    model, _ = detectron2_model(checkout, False)
    image, annotations = vitdet.picture(7, SIZE, SIZE)
    image.save(folder / "picture.png")
    for annotation in annotations:
        x, y, width, height = annotation["bbox"]
        annotation["bbox"] = [x, y, x + width, y + height]
    kept = [{k: a[k] for k in ("bbox", "category_id", "segmentation")} for a in annotations if not a["iscrowd"]]
    (folder / "annotations.json").write_text(json.dumps(kept))
    vitdet.set_weights(model, 3)
    pixels = torch.as_tensor(numpy.array(image).transpose(2, 0, 1).copy())
    sample = dict(image=pixels, height=SIZE, width=SIZE)
    vitdet.calibrate(model, [sample], False)
    torch.save({"model": model.state_dict()}, folder / "weights.pth")


def arguments(folder, mode, rounds, threads):
    return [
        "--mode", mode.split("-")[0], "--weights", folder / "weights.pth", "--picture", folder / "picture.png",
        "--annotations", folder / "annotations.json", "--rounds", rounds, "--threads", threads,
        *(["--checkpointing"] if mode == "train-checkpointing" else []),
    ]


def turn(side, options, folder, mode, rounds, *more):
    """One process of a side; what it measured."""
    if side == "detectron2":
        command = [sys.executable, __file__, "--worker", "--detectron2", options.detectron2]
    else:
        command = [options.program]
    command += arguments(folder, mode, rounds, options.threads) + list(more)
    return turns.turn(side, mode, command, options.threads, options.own_libtorch)


def compare(options, folder):
    """Stops where the two sides see different things."""
    for mode in sorted({mode.split("-")[0] for mode in options.mode}):
        more = ["--sample-everything"] if mode == "train" else []
        found = {}
        for side in ("detectron2", "deepmim"):
            path = folder / f"{side}_{mode}.json"
            checked = "train-checkpointing" if mode == "train" else mode  # less memory for all the ROIs
            turn(side, options, folder, checked, 1, *more, "--record", path)
            found[side] = json.loads(path.read_text())
        theirs, ours = found["detectron2"], found["deepmim"]
        if mode == "train":
            worst = max(abs(ours["losses"][n] - v) / max(abs(v), 1e-3) for n, v in theirs["losses"].items())
            print(f"losses: largest relative difference {worst:.1e} (allowed {LOSS:g})")
            if worst > LOSS:
                sys.exit(f"the losses differ: {theirs['losses']} and {ours['losses']}")
        else:
            rest = list(range(len(ours["scores"])))
            partners = 0
            for number, score in enumerate(theirs["scores"]):
                def fits(other):
                    boxes = zip(ours["boxes"][other], theirs["boxes"][number])
                    areas = ours["mask_areas"][other], theirs["mask_areas"][number]
                    return (
                        ours["classes"][other] == theirs["classes"][number]
                        and abs(ours["scores"][other] - score) < SCORE
                        and all(abs(a - b) < BOX for a, b in boxes)
                        and abs(areas[0] - areas[1]) <= AREA * max(areas) + 4
                    )

                partner = next((other for other in rest if fits(other)), None)
                if partner is not None:
                    rest.remove(partner)
                    partners += 1
            count = max(len(theirs["scores"]), len(ours["scores"]))
            print(f"detections: {partners} of {count} the same on both sides")
            if partners < FOUND * count or count == 0:
                sys.exit("the detections differ")


def measure(options, folder):
    sides = [options.side] if options.side else ["deepmim", "detectron2"]
    if len(sides) == 2:
        with turns.in_float32():
            compare(options, folder)
    print(f"{turns.machine(options.threads)}, {SIZE} x {SIZE} pixels")
    for mode in options.mode:
        def one_turn(side, count, mode=mode):
            return turn(side, options, folder, mode, options.rounds + 1, *(["--count"] if count else []))

        turns.measure(mode, sides, options.turns, options.threads, one_turn)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detectron2", type=pathlib.Path, required=True, help="a checkout of facebookresearch/detectron2")
    turns.options(parser, MODES, ("deepmim", "detectron2"))
    worker = parser.add_argument_group("inside a process of detectron2's side")
    worker.add_argument("--worker", action="store_true")
    for name in ("weights", "picture", "annotations", "record"):
        worker.add_argument(f"--{name}")
    for name in ("checkpointing", "sample-everything", "count"):
        worker.add_argument(f"--{name}", action="store_true")
    options = parser.parse_args()
    turns.tell(options)
    if options.worker:
        options.side_mode = options.mode[0]
        return run_detectron2(options)
    options.mode = list(dict.fromkeys(options.mode or MODES))
    if options.side != "detectron2":
        options.program = options.program or turns.build("deepmim-detection", "detection_speed")
    with tempfile.TemporaryDirectory() as folder:
        warnings.filterwarnings("ignore")
        prepare(pathlib.Path(folder), options.detectron2)
        measure(options, pathlib.Path(folder))


if __name__ == "__main__":
    main()

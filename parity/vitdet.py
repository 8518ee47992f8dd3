"""Records detectron2's ViTDet Mask R-CNN and Cascade Mask R-CNN on two drawn pictures.

Writes golden/vitdet_synthetic: `vitdet/` (every stage in eval mode, one training batch) and
`cascade_vitdet/` (eval mode and one training batch's losses), each a tiny model with seeded weights at no
degenerate value. The weights come from a seeded search for ones whose detections, proposals and training
ROIs do not change under small weight noise, so that order and count must match in any correct
implementation.

    python parity/vitdet.py --detectron2 CHECKOUT [--out parity/golden/vitdet_synthetic]

CHECKOUT is a clone of facebookresearch/detectron2; its C++ extension is not needed.
"""

import argparse
import copy
import importlib.metadata
import json
import math
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from safetensors.torch import save_file

NOISE = 1e-5  # relative weight noise that detections and proposals must survive
TRAIN_NOISE = 4e-6  # the same for training ROIs
MARGIN = 2e-4  # least distance of a score from the threshold 0.05
DRAWS = 8  # noises tried per kind
PIXEL_MEAN, PIXEL_STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]

MASK_RCNN = dict(
    size=192, embed_dim=32, depth=3, num_heads=2, window_size=5, window_block_indexes=[0, 2],
    pretrain_img_size=64, pretrain_use_cls_token=True, out_channels=16, box_fc=32, num_classes=5,
    anchor_sizes=[32, 64, 128, 256, 512], pre_nms_topk=[400, 150], post_nms_topk=[150, 60],
    detections_per_image=40, mlp_ratio=4.0,
)
CASCADE = dict(
    size=160, embed_dim=24, depth=2, num_heads=2, window_size=4, window_block_indexes=[0],
    pretrain_img_size=96, pretrain_use_cls_token=True, out_channels=12, box_fc=16, num_classes=4,
    anchor_sizes=[32, 64, 128, 256, 512], pre_nms_topk=[400, 150], post_nms_topk=[60, 40],
    detections_per_image=30, mlp_ratio=4.0,
)


# ---------------------------------------------------------------------------------------- pictures


def picture(seed, width, height):
    """A drawn picture and its annotations: discs, boxes and stars over a soft background."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    waves = [
        120 + 60 * np.sin(x / rng.uniform(15, 60) + rng.uniform(0, 6)) * np.cos(y / rng.uniform(15, 60))
        for _ in range(3)
    ]
    pixels = np.stack(waves, axis=-1) + rng.normal(0, 6, (height, width, 3))
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    annotations = []
    for number in range(7):
        category = int(rng.integers(0, 5))
        radius = float(rng.uniform(20, 0.35 * min(width, height)))
        centre = rng.uniform([radius * 0.6] * 2, [width - radius * 0.6, height - radius * 0.6])
        corners = [24, 4, 10, 3, 6][category]
        angle = rng.uniform(0, 2 * math.pi) + np.arange(corners) * 2 * math.pi / corners
        reach = np.where((category == 2) & (np.arange(corners) % 2 == 1), 0.45, 1.0) * radius
        points = centre + np.stack([np.cos(angle) * reach, np.sin(angle) * reach * 0.8], axis=1)
        points = np.clip(points, 0, [width - 1, height - 1]).round(2)
        colour = tuple(int(v) for v in rng.integers(0, 256, 3))
        draw.polygon([tuple(p) for p in points], fill=colour, outline=tuple(255 - c for c in colour))
        (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
        annotation = {
            "bbox": [round(float(v), 2) for v in (x0, y0, x1 - x0, y1 - y0)],
            "bbox_mode": "XYWH",
            "category_id": category,
            "segmentation": [[float(v) for v in points.ravel()]],
            "iscrowd": 0,
        }
        if number == 1:  # a crowd region, which training must drop
            mask = np.zeros((height, width), np.uint8, order="F")
            mask[int(y0) : int(y1) + 1, int(x0) : int(x1) + 1] = 1
            flat = mask.ravel(order="F")
            edges = np.flatnonzero(np.diff(flat)) + 1
            counts = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
            counts = [0] + counts if flat[0] else counts
            annotation.update(segmentation={"size": [height, width], "counts": counts}, iscrowd=1)
        annotations.append(annotation)
    return image, annotations


def draw_pictures(folder, detectors):
    """The first drawings whose anchors are labelled alike however the overlaps are rounded.

    A box that fits into many anchors has the same overlap with all of them but for rounding, and the matcher
    asks for equality with the largest.
    """
    entries = []
    for number, (width, height) in enumerate([(320, 213), (241, 320)]):
        for seed in range(100 + 1000 * number, 1100 + 1000 * number):
            image, annotations = picture(seed, width, height)
            image.save(folder / f"image{number}.jpg", quality=90)
            entry = dict(
                file_name=f"image{number}.jpg", height=height, width=width, image_id=number + 1, annotations=annotations
            )
            if all(labels_are_certain(model, samples(folder, [entry], settings, True)) for model, settings in detectors):
                print(f"picture {number}: seed {seed}")
                entries.append(entry)
                break
    (folder / "annotations.json").write_text(json.dumps(entries))
    return entries


@torch.no_grad()
def labels_are_certain(model, batch):
    from detectron2.structures import Boxes, pairwise_iou

    if len(batch[0]["instances"]) < 5:
        return False
    size = model.backbone.padding_constraints["square_size"]
    maps = [torch.zeros(1, 1, -(-size // stride), -(-size // stride)) for stride in (4, 8, 16, 32, 64)]
    anchors = Boxes.cat(model.proposal_generator.anchor_generator(maps))
    overlap = pairwise_iou(batch[0]["instances"].gt_boxes, anchors)
    best = overlap.max(dim=1, keepdim=True).values
    no_near_ties = torch.equal(overlap > best - 1e-5, overlap == best)
    most = overlap.max(dim=0).values
    return no_near_ties and min((most - t).abs().min() for t in (0.3, 0.7)) > 1e-5


def samples(folder, entries, settings, train):
    """What detectron2's mapper hands to the model."""
    from detectron2.data import DatasetMapper
    from detectron2.data import transforms as T
    from detectron2.structures import BoxMode

    size = settings["size"]
    mapper = DatasetMapper(
        is_train=train, augmentations=[T.ResizeShortestEdge(size, max_size=size)], image_format="RGB",
        use_instance_mask=train, instance_mask_format="polygon", recompute_boxes=train,
    )
    out = []
    for entry in copy.deepcopy(entries):
        entry["file_name"] = str(folder / entry["file_name"])
        for annotation in entry["annotations"]:
            annotation["bbox_mode"] = BoxMode.XYWH_ABS
            annotation["category_id"] %= settings["num_classes"]
        out.append(mapper(entry))
    return out


# ------------------------------------------------------------------------------------------- model


def build(checkout, settings, cascade):
    """The project's own configuration with reduced sizes."""
    from detectron2.config import LazyConfig, instantiate
    from detectron2.layers import ShapeSpec

    name = "cascade_mask_rcnn_vitdet_b_100ep.py" if cascade else "mask_rcnn_vitdet_b_100ep.py"
    model = LazyConfig.load(str(checkout / "projects/ViTDet/configs/COCO" / name)).model
    channels, size = settings["out_channels"], settings["size"]
    net = model.backbone.net
    for key in ["embed_dim", "depth", "num_heads", "window_size", "window_block_indexes", "mlp_ratio",
                "pretrain_img_size", "pretrain_use_cls_token"]:
        net[key] = settings[key]
    net.img_size, net.drop_path_rate = size, 0.0
    model.backbone.out_channels, model.backbone.square_pad = channels, size
    rpn = model.proposal_generator
    rpn.head.in_channels = channels
    rpn.anchor_generator.sizes = [[s] for s in settings["anchor_sizes"]]
    rpn.pre_nms_topk, rpn.post_nms_topk = tuple(settings["pre_nms_topk"]), tuple(settings["post_nms_topk"])
    anchors = sum(3 * math.ceil(size / stride) ** 2 for stride in rpn.anchor_generator.strides)
    rpn.batch_size_per_image = anchors
    roi = model.roi_heads
    roi.num_classes = settings["num_classes"]
    roi.batch_size_per_image, roi.positive_fraction = 4096, 1.0
    heads = roi.box_heads if cascade else [roi.box_head]
    for head in heads:
        head.input_shape = ShapeSpec(channels=channels, height=7, width=7)
        head.conv_dims, head.fc_dims = [channels] * 4, [settings["box_fc"]]
    for predictor in roi.box_predictors if cascade else [roi.box_predictor]:
        predictor.input_shape = ShapeSpec(channels=settings["box_fc"])
        predictor.test_topk_per_image = settings["detections_per_image"]
    roi.mask_head.input_shape = ShapeSpec(channels=channels, height=14, width=14)
    roi.mask_head.conv_dims = [channels] * 5
    return instantiate(model), anchors


def set_weights(model, seed):
    """Seeded values, none degenerate: every parameter influences the outputs, scores spread."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            last = name.rsplit(".", 1)[-1]
            if last in ("pos_embed", "rel_pos_h", "rel_pos_w"):
                value = 0.3 * noise
            elif parameter.dim() == 1:
                gain = last == "weight"
                value = (1.0 if gain else 0.0) + 0.2 * noise
            else:
                # transposed convolutions have their inputs first; each output sees one tap
                transposed = "deconv" in name or (".simfp_" in name and parameter.shape[-1] == 2)
                fan_in = parameter.shape[0] if transposed else parameter[0].numel()
                gain = 1.0
                if "objectness_logits" in name:
                    gain = 1.6
                elif "anchor_deltas" in name or "bbox_pred" in name:
                    gain = 0.25
                elif "cls_score" in name:
                    gain = 2.5
                elif "mask_head.predictor" in name:
                    gain = 2.0
                value = gain * noise / math.sqrt(fan_in)
            parameter.copy_(value)


@torch.no_grad()
def calibrate(model, tests, cascade):
    """Class scores that differ between ROIs: each class centred over the pictures' proposals and spread.

    A random head gives nearly all ROIs the same class, which would test little.
    """
    model.eval()
    roi = model.roi_heads
    predictors = list(roi.box_predictor) if cascade else [roi.box_predictor]
    for stage, predictor in enumerate(predictors):
        logits = torch.cat([class_logits(model, sample, stage if cascade else None) for sample in tests])
        mean, spread = logits.mean(dim=0), logits.std(dim=0)
        scale = 2.2 / spread
        layer = predictor.cls_score
        layer.weight.mul_(scale[:, None])
        offset = torch.linspace(-0.6, 0.6, len(mean))  # no bias at zero
        offset[-1] = 5.8  # the background wins often, so that some scores fall below 0.05
        layer.bias.copy_((layer.bias - mean) * scale + offset)


def class_logits(model, sample, stage):
    """Of all proposals; of a cascade those of one stage."""
    if stage is not None:
        return evaluate(model, sample, True)[0][f"stage{stage}_scores"]
    images = model.preprocess_image([sample])
    features = model.backbone(images.tensor)
    proposals, _ = model.proposal_generator(images, features, None)
    roi = model.roi_heads
    pooled = roi.box_pooler([features[f] for f in roi.box_in_features], [proposals[0].proposal_boxes])
    return roi.box_predictor(roi.box_head(pooled))[0]


def perturbed(model, scale, seed):
    other = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in other.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.mul_(1 + scale * noise)
    return other


# --------------------------------------------------------------------------------------- recording


def detections(model, sample, threshold):
    heads = model.roi_heads.box_predictor
    for predictor in heads if isinstance(heads, torch.nn.ModuleList) else [heads]:
        predictor.test_score_thresh = threshold
    return model.inference([sample], do_postprocess=False)[0]


@torch.no_grad()
def evaluate(model, sample, cascade):
    """Every stage of one picture."""
    from detectron2.modeling.postprocessing import detector_postprocess
    from pycocotools import mask as coco_mask

    model.eval()
    out, masks = {}, {}
    images = model.preprocess_image([sample])
    trunk = model.backbone.net(images.tensor)["last_feat"]
    features = model.backbone(images.tensor)
    out["preprocessed"], out["trunk"] = images.tensor[0], trunk[0]
    for level in features:
        out[level] = features[level][0]
    objectness, deltas = model.proposal_generator.rpn_head([features[f"p{i}"] for i in range(2, 7)])
    for level in range(5):
        out[f"rpn_objectness_p{level + 2}"] = objectness[level][0]
        out[f"rpn_deltas_p{level + 2}"] = deltas[level][0]
    proposals, _ = model.proposal_generator(images, features, None)
    out["proposal_boxes"] = proposals[0].proposal_boxes.tensor
    out["proposal_logits"] = proposals[0].objectness_logits
    roi = model.roi_heads
    levels = [features[f] for f in roi.box_in_features]
    if cascade:
        stages = []
        own = roi._run_stage

        def run_stage(*arguments):
            stages.append(own(*arguments))
            return stages[-1]

        roi._run_stage = run_stage
        predictors, seen = list(roi.box_predictor), []
        originals = [p.predict_boxes for p in predictors]
        for predictor, original in zip(predictors, originals):
            predictor.predict_boxes = lambda p, r, original=original: (seen.append(original(p, r)), seen[-1])[1]
        roi._forward_box(features, proposals)
        for predictor, original in zip(predictors, originals):
            predictor.predict_boxes = original
        del roi._run_stage
        for stage, (scores, stage_deltas) in enumerate(stages):
            out[f"stage{stage}_scores"], out[f"stage{stage}_deltas"] = scores, stage_deltas
            out[f"stage{stage}_boxes"] = seen[stage][0]
    else:
        pooled = roi.box_pooler(levels, [proposals[0].proposal_boxes])
        head = roi.box_head(pooled)
        scores, box_deltas = roi.box_predictor(head)
        out["box_roi_features_first4"], out["box_head"] = pooled[:4], head
        out["box_scores"], out["box_deltas"] = scores, box_deltas
        out["box_probs"] = roi.box_predictor.predict_probs((scores, box_deltas), proposals)[0]
        out["box_decoded"] = roi.box_predictor.predict_boxes((scores, box_deltas), proposals)[0]
    for threshold in [0.0, 0.05]:
        key = "thr0" if threshold == 0 else "thr0.05"
        found = detections(model, sample, threshold)
        # Cloned: putting boxes into pixels of the original changes them in place.
        out[f"{key}/net_boxes"] = found.pred_boxes.tensor.clone()
        out[f"{key}/scores"], out[f"{key}/classes"] = found.scores, found.pred_classes
        if threshold == 0:
            first = found[:12]
            pooled = roi.mask_pooler(levels, [first.pred_boxes])
            logits = roi.mask_head.layers(pooled)
            out[f"{key}/mask_logits_first12"] = logits[torch.arange(len(first)), first.pred_classes]
            pasted = detector_postprocess(copy.deepcopy(first), sample["height"], sample["width"])
            masks[key] = [
                dict(size=list(rle["size"]), counts=rle["counts"].decode())
                for rle in (coco_mask.encode(np.asfortranarray(m.numpy().astype(np.uint8))) for m in pasted.pred_masks)
            ]
        out[f"{key}/boxes"] = detector_postprocess(found, sample["height"], sample["width"]).pred_boxes.tensor
    return {name: tensor.detach().clone() for name, tensor in out.items()}, masks


def train(model, batch, cascade, record_all):
    """Losses and gradients of one batch with nothing left to chance."""
    from detectron2.utils.events import EventStorage

    model.train()
    model.zero_grad()
    seen = {}
    rpn, roi = model.proposal_generator, model.roi_heads

    def tap(owner, name):
        own = getattr(owner, name)

        def call(*arguments):
            seen[name] = own(*arguments)
            return seen[name]

        setattr(owner, name, call)
        return lambda: delattr(owner, name)

    undo = [tap(rpn, "label_and_sample_anchors"), tap(rpn, "predict_proposals"), tap(roi, "label_and_sample_proposals")]
    with EventStorage(0):
        losses = model(copy.deepcopy(batch))
    for back in undo:
        back()
    total = sum(losses.values())
    total.backward()
    out = {f"loss/{name}": loss.detach() for name, loss in losses.items()}
    out["loss/total"] = total.detach()
    labels, matched = seen["label_and_sample_anchors"]
    for number, instances in enumerate(seen["label_and_sample_proposals"]):
        key = f"image{number}/"
        label = labels[number]
        out[key + "anchor_labels"] = label.to(torch.int8)
        out[key + "matched_gt_boxes_of_positive_anchors"] = matched[number][label == 1]
        out[key + "anchor_counts_pos_neg_ignored"] = torch.tensor([(label == v).sum().item() for v in (1, 0, -1)])
        proposals = seen["predict_proposals"][number]
        out[key + "rpn_proposal_boxes"] = proposals.proposal_boxes.tensor
        out[key + "rpn_proposal_logits"] = proposals.objectness_logits
        out[key + "roi_boxes"] = instances.proposal_boxes.tensor
        out[key + "roi_classes"] = instances.gt_classes
        out[key + "roi_matched_gt_boxes"] = instances.gt_boxes.tensor
        positive = instances[instances.gt_classes < roi.num_classes]
        out[key + "mask_targets"] = positive.gt_masks.crop_and_resize(positive.proposal_boxes.tensor, 28).to(torch.uint8)
    for name, parameter in model.named_parameters():
        if record_all or name in gradient_names(model, cascade):
            out[f"grad_norm/{name}"] = parameter.grad.norm()
        if name in gradient_names(model, cascade):
            out[f"grad/{name}"] = parameter.grad.clone()
    return {name: tensor.detach().clone() for name, tensor in out.items()}


def gradient_names(model, cascade):
    last = len(model.backbone.net.blocks) - 1
    boxes = "box_predictor.2" if cascade else "box_predictor"
    return {
        "backbone.net.pos_embed", "backbone.net.blocks.0.attn.rel_pos_h", f"backbone.net.blocks.{last}.attn.rel_pos_w",
        f"backbone.net.blocks.{last}.attn.qkv.weight", "proposal_generator.rpn_head.objectness_logits.weight",
        f"roi_heads.{boxes}.bbox_pred.weight", "roi_heads.mask_head.predictor.weight",
    }


# ------------------------------------------------------------------------------------------ search


def same_order(left, right):
    """Proposals and detections in the same order, scores clear of the threshold."""
    for name in left:
        if left[name].shape != right[name].shape:
            return False
        if name.endswith("classes") and not torch.equal(left[name], right[name]):
            return False
        if name.endswith("boxes") and (left[name] - right[name]).abs().max() > 0.05:
            return False
    return True


def same_rois(left, right):
    for name in left:
        if left[name].shape != right[name].shape:
            return False
        if name.endswith(("anchor_labels", "mask_targets")) and not torch.equal(left[name], right[name]):
            return False
    for number in range(2):
        key = f"image{number}/"
        def rows(x):
            table = torch.cat([x[key + "roi_boxes"], x[key + "roi_classes"][:, None].float()], dim=1).double()
            # sorted by a direction that no two boxes share
            return table[(table @ torch.tensor([1.0, 3.1, 7.3, 13.7, 1000.0], dtype=torch.float64)).argsort()]
        if (rows(left) - rows(right)).abs().max() > 0.05:
            return False
    return True


def worth_recording(outputs, training, settings):
    """Enough of everything: detections on both sides of the threshold, classes, positives."""
    for out in outputs:
        scores = out["thr0/scores"]
        kept, all_of_them = len(out["thr0.05/scores"]), len(scores)
        if not 12 <= kept <= all_of_them - 2 or len(out["thr0/classes"].unique()) < min(4, settings["num_classes"]):
            return False
        if (scores - 0.05).abs().min() < MARGIN or scores.max() < 0.3 or scores.max() > 0.98:
            return False
        if len(out["proposal_logits"]) < settings["post_nms_topk"][1]:
            return False
    for number in range(2):
        positives = len(training[f"image{number}/mask_targets"])
        if positives < 4 or training[f"image{number}/anchor_counts_pos_neg_ignored"][2] == 0:
            return False
    return all(0.001 < training[name] < 20 for name in training if name.startswith("loss/"))


def search(model, tests, batch, settings, cascade, attempts):
    rejected = dict(plain=0, noise=0, training=0)
    for attempt in range(attempts):
        set_weights(model, attempt)
        calibrate(model, tests, cascade)
        outputs = [evaluate(model, sample, cascade)[0] for sample in tests]
        training = train(model, batch, cascade, False)
        if not worth_recording(outputs, training, settings):
            rejected["plain"] += 1
            continue
        stable = True
        for draw in range(DRAWS):
            other = perturbed(model, NOISE, 1000 + draw)
            if not all(same_order(out, evaluate(other, s, cascade)[0]) for out, s in zip(outputs, tests)):
                rejected["noise"] += 1
                stable = False
                break
            other = perturbed(model, TRAIN_NOISE, 2000 + draw)
            if not same_rois(training, train(other, batch, cascade, False)):
                rejected["training"] += 1
                stable = False
                break
        if stable:
            print(f"attempt {attempt} is stable; rejected {rejected}")
            return attempt
        if attempt % 10 == 0:
            print(f"attempt {attempt}: rejected {rejected}", flush=True)
    sys.exit(f"no stable weights in {attempts} attempts: {rejected}")


# ----------------------------------------------------------------------------------------- float64


class Double:
    """Everything in float64, detectron2's casts to float32 included."""

    def __enter__(self):
        from detectron2.structures import Boxes

        self.boxes, self.float, self.init = Boxes, torch.Tensor.float, Boxes.__init__

        def init(boxes, tensor):
            boxes.tensor = torch.as_tensor(tensor).to(torch.float64).reshape(-1, 4)

        Boxes.__init__ = init
        torch.Tensor.float = lambda tensor: tensor.to(torch.float64)

    def __exit__(self, *_):
        self.boxes.__init__, torch.Tensor.float = self.init, self.float


def to_double(sample):
    from detectron2.structures import Boxes

    sample = copy.deepcopy(sample)
    sample["image"] = sample["image"].to(torch.float64)
    if "instances" in sample:
        sample["instances"].gt_boxes = Boxes(sample["instances"].gt_boxes.tensor)
    return sample


def difference(single, double):
    largest = (single.double() - double.double()).abs().max().item() if single.numel() else 0.0
    value = double.double().abs().max().item() if double.numel() else 0.0
    return dict(max_abs_diff=largest, max_abs_value=value, rel_to_max=largest / value if value else 0.0)


# ------------------------------------------------------------------------------------------- files


def slim(out, cascade):
    """What is kept of large tensors. What a cascade has in common with a Mask R-CNN is kept once."""
    kept = {}
    for name, tensor in out.items():
        stem = name.rsplit("/", 1)[-1]
        if cascade and (stem in ("preprocessed", "p2") or stem.startswith("rpn_")):
            continue
        if stem == "preprocessed":
            kept[name + "_every_4th"] = tensor[:, ::4, ::4]
        elif stem == "p2":
            if "image0" in name:
                kept[name + "_every_2nd"] = tensor[:, ::2, ::2]
        elif stem == "rpn_deltas_p2":
            kept[name + "_every_2nd"] = tensor[:, ::2, ::2]
        else:
            kept[name] = tensor
    return kept


def store(path, tensors):
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, str(path))
    path.chmod(0o644)


def settings_file(settings, cascade, anchors):
    channels = settings["out_channels"]
    rpn = dict(
        conv_dims=[channels] * 2, aspect_ratios=[0.5, 1, 2], strides=[4, 8, 16, 32, 64], offset=0.0,
        match_thresholds=[0.3, 0.7], nms_thresh=0.7, box_weights=[1, 1, 1, 1], train_batch_size_per_image=anchors,
        positive_fraction=0.5, pre_nms_topk=dict(zip(["train", "test"], settings["pre_nms_topk"])),
        post_nms_topk=dict(zip(["train", "test"], settings["post_nms_topk"])),
    )
    out = dict(
        model="ViTDet Cascade Mask R-CNN" if cascade else "ViTDet Mask R-CNN", patch_size=16, qkv_bias=True,
        norm_eps=1e-6, use_rel_pos=True, drop_path=0.0, input_format="RGB", pixel_mean=PIXEL_MEAN, pixel_std=PIXEL_STD,
        square_pad=settings["size"], scale_factors=[4, 2, 1, 0.5], fpn_norm="LN", rpn=rpn,
        box_head=dict(conv_dims=[channels] * 4, fc_dims=[settings["box_fc"]], norm="LN", pooler=7),
        mask_head=dict(conv_dims=[channels] * 5, norm="LN", pooler=14), sampling_ratio=0,
        roi_train_batch_size_per_image=4096, roi_positive_fraction=1.0, nms_thresh_test=0.5, **settings,
    )
    if cascade:
        out.update(
            cascade_ious=[0.5, 0.6, 0.7], class_agnostic_boxes=True,
            cascade_box_weights=[[10, 10, 5, 5], [20, 20, 10, 10], [30, 30, 15, 15]],
        )
    else:
        out["roi_match_threshold"] = 0.5
        out["box_head"].update(box_weights=[10, 10, 5, 5], class_agnostic=False)
    return out


def record(root, pictures, entries, model, anchors, settings, cascade, attempts):
    folder = root / ("cascade_vitdet" if cascade else "vitdet")
    folder.mkdir(exist_ok=True)
    tests = samples(pictures, entries, settings, False)
    batch = samples(pictures, entries, settings, True)
    started = time.time()
    attempt = search(model, tests, batch, settings, cascade, attempts)
    set_weights(model, attempt)
    calibrate(model, tests, cascade)
    model.zero_grad(set_to_none=True)
    outputs, masks, tolerance = {}, {}, {}
    pairs = [evaluate(model, sample, cascade) for sample in tests]
    training = train(model, batch, cascade, True)
    double = copy.deepcopy(model).double()
    with Double():
        doubles = [evaluate(double, to_double(sample), cascade)[0] for sample in tests]
        training64 = train(double, [to_double(sample) for sample in batch], cascade, True)
    for number, (out, rle) in enumerate(pairs):
        key = f"image{number}"
        outputs.update({f"{key}/{name}": tensor for name, tensor in out.items()})
        masks[key] = rle
        assert same_order(out, doubles[number]), "float64 sees other detections"
        for name, tensor in out.items():
            if tensor.is_floating_point():
                tolerance[f"{key}/{name}"] = difference(tensor, doubles[number][name])
        image = tests[number]["image"].permute(1, 2, 0).numpy()
        Image.fromarray(image).save(folder / f"image{number}_resized.png", optimize=True)
    grads = dict(grad_norm=[], grad=[])
    for name, tensor in training.items():
        if not tensor.is_floating_point():
            continue
        kind = name.split("/")[0]
        measured = difference(tensor, training64[name])
        if kind in grads:
            grads[kind].append(measured)
        elif tensor.shape == training64[name].shape:
            tolerance[f"train/{name}"] = measured
    for kind, measured in grads.items():
        tolerance[kind] = max(measured, key=lambda m: m["rel_to_max"])
    store(folder / "weights.safetensors", dict(model.state_dict()))
    store(folder / "outputs.safetensors", slim(outputs, cascade))
    store(folder / "inputs.safetensors", {
        f"image{n}/original_height_width": torch.tensor([s["height"], s["width"]]) for n, s in enumerate(tests)
    })
    store(folder / "train_inputs.safetensors", {
        f"image{n}/{name}": value
        for n, sample in enumerate(batch)
        for name, value in [
            ("gt_boxes", sample["instances"].gt_boxes.tensor), ("gt_classes", sample["instances"].gt_classes)
        ]
    })
    store(folder / "train_outputs.safetensors", training)
    polygons = [[[p.tolist() for p in instance] for instance in s["instances"].gt_masks.polygons] for s in batch]
    (folder / "train_gt_polygons.json").write_text(json.dumps(polygons))
    (folder / "masks_rle.json").write_text(json.dumps(masks))
    (folder / "tolerance.json").write_text(json.dumps(tolerance))
    (folder / "config.json").write_text(json.dumps(settings_file(settings, cascade, anchors), indent=1))
    kept = [len(out["thr0.05/scores"]) for out, _ in pairs]
    print(f"{folder.name}: {kept} detections above 0.05, {time.time() - started:.0f} s")
    return dict(folder=folder.name, attempt=attempt, tolerance=tolerance, kept=kept)


README = """# vitdet_synthetic

detectron2's ViTDet on two drawn pictures: `vitdet`, a tiny Mask R-CNN, and `cascade_vitdet`, a tiny Cascade
Mask R-CNN. Written by `parity/vitdet.py`, which draws the pictures too; nothing in it is a photograph.

## Source

- facebookresearch/detectron2 {commit}: `projects/ViTDet/configs/COCO/mask_rcnn_vitdet_b_100ep.py` and
  `cascade_mask_rcnn_vitdet_b_100ep.py`, sizes reduced as in each `config.json`; `DatasetMapper` with
  `ResizeShortestEdge(size, max_size=size)`, RGB; training with `recompute_boxes=True`, no flip, no crop
- versions: {versions}; the environment is `parity/requirements-detection.txt`

## Determinism

Sampling keeps everything: RPN `batch_size_per_image` = number of anchors, positive fraction 0.5 (it is also
the loss normaliser); ROI batch 4096, fraction 1.0; `torch.randperm` returns 0..n-1, so ROIs come as positives,
then negatives, each by index, the ground truth after the RPN's proposals. Compare training proposals and ROIs
as sets: their order may swap where objectness nearly ties. The weights are the first of a seeded search
({attempts}) whose proposals and detections keep their order when every weight is multiplied by
1 + {noise:g} N(0, 1), whose training ROIs keep their set at {train_noise:g}, and none of whose scores lies
within {margin:g} of the threshold 0.05. Every parameter is at a non-degenerate value.

## Files

In each folder: `weights`, `inputs`, `outputs`, `train_inputs`, `train_outputs` (.safetensors), `config.json`,
`imageK_resized.png` (what the mapper hands to the model, RGB), `masks_rle.json` (pasted masks of the first 12
detections at threshold 0), `train_gt_polygons.json`, `tolerance.json`. `vitdet/` also has `imageK.jpg` and
`annotations.json` (the second annotation of each picture is a crowd and must be dropped in training; a class is
`category_id` modulo `num_classes`).

- `preprocessed_every_4th` = preprocessed[:, ::4, ::4]; `p2_every_2nd` and `rpn_deltas_p2_every_2nd` = [:, ::2, ::2].
- `cascade_vitdet` has neither these nor `rpn_*`, which are as in a Mask R-CNN.
- `rpn_*_pN` are [A, H, W] and [4 A, H, W]; proposals are sorted by objectness over all levels.
- `box_scores` and `stageK_scores` are logits with the background last; `box_decoded` has 4 columns per class,
  unclipped. Boxes of cascade stage k, clipped, are the proposals of stage k + 1; its scores are the mean over stages.
- `thr0/`, `thr0.05/`: `net_boxes` in network pixels, `boxes` in pixels of the original; `mask_logits_first12` of
  the predicted class.
- `train_outputs`: anchor labels (1, 0, -1) over p2 … p6 in order (h, w, anchor), proposals with the training
  top-k, sampled ROIs (class `num_classes` is background), mask targets of the positive ROIs, losses, the norms
  of all gradients and some gradients. Of a cascade the ROIs are those of its first stage.

## Float32 against float64

Largest difference of the same run in float64. A correct float32 implementation should stay within about ten
times these; gradients behind ROIAlign are not smooth (ReLUs flip), losses are.

{tables}
"""


def table(result):
    rows = [f"`{result['folder']}` ({result['kept'][0]} and {result['kept'][1]} detections above 0.05)", "",
            "| tensor | max abs diff | relative to max |", "|---|---|---|"]
    groups = {}
    for name, measured in result["tolerance"].items():
        name = name.replace("image0/", "").replace("image1/", "")
        worst = groups.get(name)
        if worst is None or measured["rel_to_max"] > worst["rel_to_max"]:
            groups[name] = measured
    rows += [f"| {n} | {m['max_abs_diff']:.2e} | {m['rel_to_max']:.2e} |" for n, m in groups.items()]
    return "\n".join(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detectron2", type=Path, required=True, help="a checkout of facebookresearch/detectron2")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "golden" / "vitdet_synthetic")
    parser.add_argument("--attempts", type=int, default=2000, help="most weights to try")
    options = parser.parse_args()
    sys.path.insert(0, str(options.detectron2))
    configs = options.detectron2 / "detectron2" / "model_zoo" / "configs"
    if not configs.exists():  # what detectron2's own setup.py does
        configs.symlink_to("../../configs")
    torch.set_num_threads(1)
    torch.randperm = lambda count, **options: torch.arange(count, **options)
    pictures = options.out / "vitdet"
    pictures.mkdir(parents=True, exist_ok=True)
    kinds = [(MASK_RCNN, False), (CASCADE, True)]
    built = [build(options.detectron2, settings, cascade) for settings, cascade in kinds]
    entries = draw_pictures(pictures, [(model, kind[0]) for (model, _), kind in zip(built, kinds)])
    results = [
        record(options.out, pictures, entries, model, anchors, settings, cascade, options.attempts)
        for (model, anchors), (settings, cascade) in zip(built, kinds)
    ]
    commit = subprocess.run(["git", "-C", options.detectron2, "rev-parse", "HEAD"], capture_output=True, text=True)
    packages = ["torch", "torchvision", "numpy", "pillow", "fvcore", "pycocotools", "safetensors"]
    versions = [f"{name} {importlib.metadata.version(name)}" for name in packages]
    python = ".".join(str(part) for part in sys.version_info[:3])
    text = README.format(
        commit=commit.stdout.strip(), versions=", ".join([f"python {python}", *versions]), noise=NOISE,
        train_noise=TRAIN_NOISE, margin=MARGIN,
        attempts="; ".join(f"`{r['folder']}`: attempt {r['attempt']}" for r in results),
        tables="\n\n".join(table(result) for result in results),
    )
    (options.out / "README.md").write_text(text)
    size = sum(path.stat().st_size for path in options.out.rglob("*") if path.is_file())
    print(f"{size / 2**20:.2f} MiB in {options.out}")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Records what tidecv says of small made-up data sets: cases.json, in the folder of this script.

    python parity/golden/tide/make.py [--seeds N] [--out FILE]

With more seeds (3 are recorded) or another file it draws a larger comparison of the same kinds.
"""
import argparse
import json
import pathlib
import tempfile

import numpy as np
from pycocotools import mask as mask_utils
from tidecv import TIDE, datasets
from tidecv.errors.main_errors import FalsePositiveError

SIDE = 48
# objects: most per picture; detections: per object and from nothing; step: grid that boxes lie on;
# scores: number of different ones (0: any); crowds: share; idle: categories without objects.
PLAIN = dict(images=4, categories=3, objects=6, per_object=2.0, stray=3, step=0.5, scores=0, crowds=0.0, idle=0)
KINDS = {
    "plain": PLAIN,
    "one_category": PLAIN | dict(categories=1),
    "ties_in_score": PLAIN | dict(scores=4),
    "ties_in_iou": PLAIN | dict(step=8.0, scores=6, per_object=2.5),
    "crowds": PLAIN | dict(crowds=0.35, stray=6),
    "idle_categories": PLAIN | dict(idle=2, objects=3),
    "sparse": PLAIN | dict(objects=1, per_object=0.7, stray=1),
    "many": PLAIN | dict(images=8, categories=6, objects=14, per_object=1.7, scores=20, crowds=0.1, step=4.0),
}


def box(rng, step):
    side = lambda low, high: float(rng.integers(round(low / step), round(high / step) + 1) * step)
    return [side(0, 24), side(0, 24), side(8, 24), side(8, 24)]


def rle(bounds, hole=False):
    x, y, w, h = (int(v) for v in bounds)
    mask = np.zeros((SIDE, SIDE), np.uint8, order="F")
    mask[y:y + h, x:x + w] = 1
    if hole:
        mask[y + h // 3:y + h // 2, x + w // 3:x + w // 2] = 0
    found = mask_utils.encode(mask)
    return {"size": [SIDE, SIDE], "counts": found["counts"].decode()}


def draw(seed, images, categories, objects, per_object, stray, step, scores, crowds, idle):
    rng = np.random.default_rng(seed)
    image_ids = np.cumsum(rng.integers(1, 5, images)).tolist()
    category_ids = np.cumsum(rng.integers(1, 4, categories + idle)).tolist()
    used = category_ids[:categories]
    score = lambda: float(rng.integers(0, scores) / scores) if scores else round(float(rng.random()), 6)
    annotations, results = [], []
    for image in image_ids:
        there = []
        for _ in range(rng.integers(0, objects + 1)):
            bounds = box(rng, step)
            if there and rng.random() < 0.2:
                bounds = list(there[-1][1])
            category = used[rng.integers(len(used))]
            crowd = int(rng.random() < crowds)
            there.append((category, bounds))
            x, y, w, h = bounds
            outline = [x, y, x + w, y, x + w, y + h, x + w / 2, y + h * 0.8, x, y + h]
            annotations.append({
                "id": len(annotations) + 1, "image_id": image, "category_id": category, "bbox": bounds,
                "area": w * h, "iscrowd": crowd,
                "segmentation": rle(bounds) if crowd or rng.random() < 0.5 else [outline],
            })
        for category, bounds in there:
            for _ in range(rng.poisson(per_object)):
                found = [v + step * float(rng.integers(-s, s + 1)) * (rng.random() < 0.5)
                         for v, s in zip(bounds, [4, 4, 6, 6] if step < 4 else [1, 1, 1, 1])]
                found = [max(found[0], 0.0), max(found[1], 0.0), max(found[2], 2.0), max(found[3], 2.0)]
                if rng.random() < 0.3:
                    category = category_ids[rng.integers(len(category_ids))]
                results.append((image, category, found))
        for _ in range(rng.integers(0, stray + 1)):
            results.append((image, category_ids[rng.integers(len(category_ids))], box(rng, step)))
    rng.shuffle(results)
    truth = {
        "images": [{"id": i, "width": SIDE, "height": SIDE, "file_name": f"{i}.png"} for i in image_ids],
        "categories": [{"id": i, "name": f"c{i}"} for i in category_ids],
        "annotations": annotations,
    }
    results = [{
        "image_id": int(image), "category_id": int(category), "score": score(), "bbox": bounds,
        "segmentation": rle(bounds, rng.random() < 0.3),
    } for image, category, bounds in results]
    return truth, results


def attempt(function):
    """tidecv divides by zero where no category is left to average over."""
    try:
        return function()
    except ZeroDivisionError:
        return None


def category_aps(data):
    return {str(k): v.get_ap() for k, v in data.objs.items() if not v.is_empty()}


def analyse(truth, results, mode):
    tide = TIDE(pos_threshold=0.5, background_threshold=0.1, mode=mode)
    # TIDERun averages at once; a data set without anything to average is recorded as such.
    run = attempt(lambda: tide.evaluate(truth, results))
    if run is None:
        return None
    out = {"ap": run.ap, "categories": {"base": category_aps(run.ap_data)}, "dap": {}, "count": {}}
    for error in TIDE._error_types:
        name = error.short_name
        mended = attempt(lambda: run.fix_main_errors(error_types=[error]))
        out["dap"][name] = None if mended is None else mended[error]
        out["count"][name] = len(run.error_dict[error])
        fixed = run.fix_errors(lambda found: isinstance(found, error))
        out["categories"][name] = category_aps(fixed)
        by_category = {}
        for found in run.error_dict[error]:
            category = str((found.pred if hasattr(found, "pred") else found.gt)["class"])
            by_category[category] = by_category.get(category, 0) + 1
        out["count_" + name] = by_category
    special = {
        "FalsePos": lambda: run.fix_errors(transform=FalsePositiveError.fix),
        "FalseNeg": lambda: run.fix_errors(false_neg_dict=run.false_negatives),
    }
    for name, fix in special.items():
        out["dap"][name] = attempt(lambda: fix().get_mAP() - run.ap)
        out["categories"][name] = category_aps(fix())
    whole = attempt(run.fix_special_errors)
    assert whole is None or sorted(whole.values()) == sorted(out["dap"][name] for name in special)
    return out


def record(name, truth, results):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "gt.json").write_text(json.dumps(truth))
        (folder / "dt.json").write_text(json.dumps(results))
        expected = {}
        for mode in (TIDE.BOX, TIDE.MASK):
            # Read anew: a run leaves marks in what it was given.
            read = datasets.COCO(folder / "gt.json", name="gt"), datasets.COCOResult(folder / "dt.json", name="dt")
            expected["bbox" if mode == TIDE.BOX else "segm"] = analyse(*read, mode)
    return {"name": name, "truth": truth, "results": results, "expected": expected}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).with_name("cases.json"))
    args = parser.parse_args()
    cases = []
    for number, (kind, settings) in enumerate(KINDS.items()):
        for seed in range(args.seeds):
            cases.append(record(f"{kind}{seed}", *draw([number, seed], **settings)))
    truth, results = draw([99, 0], **PLAIN)
    cases.append(record("no_detections", truth, []))
    cases.append(record("no_objects", truth | {"annotations": []}, results))
    crowds = [annotation | {"iscrowd": 1, "segmentation": rle(annotation["bbox"])} for annotation in truth["annotations"]]
    cases.append(record("only_crowds", truth | {"annotations": crowds}, results))
    args.out.write_text("[\n" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases) + "\n]\n")


if __name__ == "__main__":
    main()

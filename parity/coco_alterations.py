"""What coco_differential.py makes of a case: the same in pycocotools' words, or as a mistaken evaluator reads it."""
import copy

from pycocotools import mask


def repaired(case):
    """The same case in words that pycocotools understands, for what it raises on without need."""
    case = copy.deepcopy(case)
    sizes = {image["id"]: (image.get("height"), image.get("width")) for image in case["gt"]["images"]}
    for truth in case["gt"].get("annotations", []):
        truth.setdefault("iscrowd", 0)
    if case["detections"] == []:
        # One of a category that is nowhere counts nowhere.
        case["detections"] = [{"image_id": next(iter(sizes)), "category_id": 999_999, "score": 0.5, "bbox": [0, 0, 1, 1]}]
    if isinstance(case["detections"], list) and not case["detections"][0].get("bbox"):
        for detection in case["detections"]:
            region = detection.get("segmentation")
            if isinstance(region, list):
                region = mask.merge(mask.frPyObjects(region, *sizes[detection["image_id"]]))
            elif isinstance(region, dict) and isinstance(region["counts"], list):
                region = mask.frPyObjects(region, *region["size"])
            else:
                continue
            detection["segmentation"] = {"size": region["size"], "counts": region["counts"].decode()}
    return case


# What a mistaken evaluator effectively reads in place of the input, for --sensitivity.

def crowds_as_objects(case):
    for truth in case["gt"]["annotations"]:
        truth["iscrowd"] = 0


def crowds_left_out(case):
    case["gt"]["annotations"] = [truth for truth in case["gt"]["annotations"] if not truth["iscrowd"]]


def ids_unique_and_positive(case):
    for number, truth in enumerate(case["gt"]["annotations"]):
        truth["id"] = number + 1


def ignore_honoured(case):
    for truth in case["gt"]["annotations"]:
        truth["iscrowd"] = 1 if truth.get("ignore") else truth["iscrowd"]


def ties_reversed(case):
    case["detections"].reverse()


def truths_reversed(case):
    case["gt"]["annotations"].reverse()


def max_dets_one_too_many(case):
    # The largest stays, since pycocotools' headline number looks for 100.
    *smaller, largest = sorted(case["max_dets"])
    case["max_dets"] = [min(limit + 1, largest) for limit in smaller] + [largest]


def detections_beyond_max_dets_kept_by_file_order(case):
    kept, counts = [], {}
    for detection in case["detections"]:
        key = detection["image_id"], detection["category_id"]
        counts[key] = counts.get(key, 0) + 1
        if counts[key] <= max(case["max_dets"]):
            kept.append(detection)
    case["detections"] = kept


def area_from_the_box(case):
    for truth in case["gt"]["annotations"]:
        if "bbox" in truth:
            truth["area"] = truth["bbox"][2] * truth["bbox"][3]


def detections_without_boxes(case):
    for detection in case["detections"]:
        if "segmentation" in detection:
            detection.pop("bbox", None)


def thresholds_a_hair_higher(case):
    for detection in case["detections"]:
        if len(detection.get("bbox", ())) == 4:
            x, y, width, height = detection["bbox"]
            detection["bbox"] = [x, y, width * (1 - 1e-13), height]


def classes_mixed_up(case):
    case["class_agnostic"] = not case["class_agnostic"]


def pictures_without_truth_left_out(case):
    known = {truth["image_id"] for truth in case["gt"]["annotations"]}
    case["gt"]["images"] = [image for image in case["gt"]["images"] if image["id"] in known]
    case["detections"] = [d for d in case["detections"] if d["image_id"] in known]


SENSITIVITIES = {
    function.__name__.replace("_", " "): function
    for function in (
        crowds_as_objects, crowds_left_out, ids_unique_and_positive, ignore_honoured, ties_reversed, truths_reversed,
        max_dets_one_too_many, detections_beyond_max_dets_kept_by_file_order, area_from_the_box, detections_without_boxes,
        thresholds_a_hair_higher, classes_mixed_up, pictures_without_truth_left_out,
    )
}

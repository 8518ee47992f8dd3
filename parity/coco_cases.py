"""Small random COCO data sets full of corner cases, for coco_differential.py.

`draw(seed, number)` gives one case: ground truth and detections as JSON values, the type, maxDets, whether
classes are ignored, and the names of the corner cases that it holds.
"""
import numpy as np
from pycocotools import mask

SIDE = 20  # of the lattice rectangles: k of 20 columns give IoUs of exactly 0.5, 0.55, ..., 0.95


def draw(seed, number):
    return Case(np.random.default_rng((seed, number))).finish()


class Case:
    def __init__(self, rng):
        self.rng = rng
        self.features = set()
        self.type = "segm" if rng.random() < 0.45 else "bbox"
        self.lattice = self.maybe(0.35, "IoU at a threshold")
        self.coarse = self.maybe(0.5, "tied scores")
        self.images = self.make_images()
        self.categories = self.make_categories()
        self.truths = self.make_truths()
        self.detections = self.make_detections()
        self.max_dets, self.class_agnostic = self.make_parameters()
        self.disturb()

    def maybe(self, probability, feature):
        """Whether a corner case is in; notes its name."""
        if self.rng.random() < probability:
            self.features.add(feature)
            return True
        return False

    def pick(self, *values):
        return values[self.rng.integers(len(values))]

    def integer(self, low, high):
        return int(self.rng.integers(low, high))

    # ---- pictures and categories

    def make_images(self):
        count = self.integer(1, 5)
        numbers = [1 + i for i in range(count)]
        if self.maybe(0.5, "picture ids with gaps, unsorted"):
            numbers = self.rng.choice(600, count, replace=False).tolist()
        if self.maybe(0.05, "large ids"):
            numbers = [number + 900_100_000_000 for number in numbers]
        images = []
        for number in numbers:
            width, height = self.integer(30, 130), self.integer(30, 130)
            if self.lattice or self.rng.random() < 0.1:
                width, height = 160, 140
            images.append({"id": number, "width": width, "height": height, "file_name": f"{number:012}.jpg"})
        if self.type == "bbox" and self.maybe(0.05, "pictures without sizes"):
            images = [{"id": image["id"]} for image in images]
        return images

    def make_categories(self):
        count = self.integer(1, 5)
        numbers = list(range(1, count + 1))
        if self.maybe(0.5, "category ids with gaps, unsorted"):
            numbers = self.rng.choice(100, count, replace=False).tolist()
        return [{"id": number, "name": f"category {number}", "supercategory": "any"} for number in numbers]

    def size(self, image):
        return image.get("width", 160), image.get("height", 140)

    # ---- shapes: a rectangle [x, y, w, h], which becomes a box, a polygon or a mask

    def rectangle(self, image):
        width, height = self.size(image)
        if self.lattice:
            columns, rows = SIDE * self.integer(1, 5), self.integer(1, 100)
            return [self.integer(0, width - columns), self.integer(0, max(1, height - rows)), columns, rows]
        root = self.pick(4.0, 12.0, 32.0, 60.0, 96.0) * float(np.exp(self.rng.normal(0, 0.3)))
        aspect = float(np.exp(self.rng.normal(0, 0.4)))
        w, h = min(width - 1.0, root * aspect), min(height - 1.0, root / aspect)
        box = [float(self.rng.random() * (width - w)), float(self.rng.random() * (height - h)), w, h]
        return box if self.rng.random() < 0.5 else [float(round(v)) or 1.0 for v in box]

    def near(self, box):
        """A detection of an object with this box."""
        x, y, w, h = box
        if self.lattice:
            columns = w * self.integer(9, 21) // SIDE
            return [x + self.integer(0, w - columns + 1), y, columns, h]
        kind = self.rng.random()
        if kind < 0.2:
            return list(box)
        scale = self.pick(0.02, 0.1, 0.3)
        dx, dy, dw, dh = self.rng.normal(0, scale, 4)
        return [float(v) for v in (max(0.0, x + dx * w), max(0.0, y + dy * h), w * np.exp(dw), h * np.exp(dh))]

    def polygon(self, box):
        x, y, w, h = map(float, box)
        if self.lattice or self.rng.random() < 0.3:
            return [x, y, x + w, y, x + w, y + h, x, y + h]
        points = self.integer(3, 12)
        turn = np.sort(self.rng.uniform(0, 2 * np.pi, points))
        radius = self.rng.uniform(0.5, 1.0, points)
        outline = np.stack((x + w / 2 * (1 + radius * np.cos(turn)), y + h / 2 * (1 + radius * np.sin(turn))), 1)
        digits = self.pick(0, 1, 2, 12)
        return [float(v) for v in np.round(outline.ravel(), digits)]

    def polygons(self, box, noun):
        if not self.lattice and self.maybe(0.15, f"{noun}: several polygons"):
            x, y, w, h = box
            return [self.polygon([x, y, w * 0.6, h]), self.polygon([x + 0.5 * w, y, w * 0.5, h])]
        return [self.polygon(box)]

    def rle(self, image, box, compressed):
        width, height = self.size(image)
        if not self.lattice and self.rng.random() < 0.15:
            pixels = (self.rng.random((height, width)) < 0.5) & (np.arange(width) % 7 < 4)
            region = mask.encode(np.asfortranarray(pixels.astype(np.uint8)))
        else:
            region = mask.merge(mask.frPyObjects(self.polygons(box, "mask"), height, width))
        if compressed:
            return {"size": [height, width], "counts": region["counts"].decode()}
        flat = mask.decode(region).ravel(order="F")
        edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
        counts = np.diff(np.concatenate(([0], edges, [flat.size]))).tolist()
        return {"size": [height, width], "counts": ([0] if flat[0] else []) + counts}

    def segmentation(self, image, box, noun, kinds):
        kind = self.pick(*kinds)
        self.features.add(f"{noun}: {kind}")
        if kind == "polygon":
            return self.polygons(box, noun)
        return self.rle(image, box, compressed=kind == "compressed RLE")

    # ---- annotations

    def make_truths(self):
        truths, boxes = [], {}
        numbers = iter(self.rng.permutation(100).tolist() if self.rng.random() < 0.5 else range(1, 101))
        for image in self.images:
            if self.maybe(0.15, "picture without ground truth"):
                continue
            for _ in range(self.integer(1, 7)):
                box = self.rectangle(image)
                number = next(numbers)
                if number == 0:
                    self.features.add("annotation id 0")
                truth = {
                    "id": number, "image_id": image["id"], "category_id": self.pick(*self.categories)["id"],
                    "bbox": box, "area": float(box[2] * box[3]), "iscrowd": 0,
                }
                kinds = ("polygon", "polygon", "compressed RLE", "uncompressed RLE")
                if self.maybe(0.12, "crowd"):
                    truth["iscrowd"] = 1
                    kinds = ("uncompressed RLE", "compressed RLE", "polygon")
                if self.type == "segm" or self.rng.random() < 0.3:
                    truth["segmentation"] = self.segmentation(image, box, "truth", kinds)
                if self.maybe(0.08, "area of its own, at or beyond a bound"):
                    truth["area"] = self.pick(0, 1024, 1024.0000001, 1023.9999999, 9216, 9216.5, 1e10, 1.1e10, -1.0)
                if self.maybe(0.06, "`ignore` set"):
                    truth["ignore"] = self.pick(0, 1)
                if self.type == "segm" and self.maybe(0.05, "truth without bbox"):
                    del truth["bbox"]
                truths.append(truth)
                boxes[number] = box
                if self.maybe(0.04, "annotation twice under two ids"):
                    truths.append(dict(truth, id=200 + number))
        self.boxes = boxes
        return truths

    def score(self):
        if self.coarse:
            return self.pick(0.9, 0.9, 0.5, 0.5, 0.1)
        return float(self.pick(np.float32, np.float64)(self.rng.random()))

    def make_detections(self):
        by_number = {image["id"]: image for image in self.images}
        # What all detections of a file hold. pycocotools takes uncompressed RLE and polygons only beside a bbox.
        if self.type == "bbox" and self.rng.random() < 0.85:
            holds = ("bbox",)
        else:
            holds = self.pick(("bbox", "segmentation"), ("segmentation",), ("segmentation",))
            self.features.add("detections: " + " and ".join(holds))
        kinds = ("compressed RLE", "compressed RLE", "uncompressed RLE", "polygon") if "bbox" in holds else ("compressed RLE",)
        if self.type == "segm" and self.maybe(0.06, "detections: masks scored by their boxes"):
            holds = ("bbox",)
        detections = []

        def add(image, category, box):
            detection = {"image_id": image["id"], "category_id": category, "score": self.score()}
            if "bbox" in holds:
                detection["bbox"] = box
            if "segmentation" in holds:
                detection["segmentation"] = self.segmentation(image, box, "detection", kinds)
            detections.append(detection)

        for truth in self.truths:
            # Fewer detections than truths, as many, or duplicates of one.
            for _ in range(self.pick(0, 1, 1, 1, 2, 3)):
                category = truth["category_id"] if self.rng.random() < 0.85 else self.pick(*self.categories)["id"]
                add(by_number[truth["image_id"]], category, self.near(self.boxes[truth["id"] % 200]))
        for image in self.images:
            for _ in range(self.pick(0, 0, 1, 3)):
                add(image, self.pick(*self.categories)["id"], self.rectangle(image))
        if not self.truths or self.maybe(0.02, "detections on one picture alone"):
            detections = [d for d in detections if d["image_id"] == self.images[0]["id"]]
        if self.maybe(0.02, "more than 100 detections of a class"):
            for _ in range(self.integer(95, 125)):
                image = self.images[0]
                near = [b for t in self.truths if t["image_id"] == image["id"] for b in [self.boxes[t["id"] % 200]]]
                add(image, self.categories[0]["id"], self.near(self.pick(*near)) if near else self.rectangle(image))
        if self.rng.random() < 0.7:
            detections = [detections[i] for i in self.rng.permutation(len(detections))]
        return detections or [{"image_id": self.images[0]["id"], "category_id": self.categories[0]["id"], "score": 0.5,
                               **({"bbox": [1.0, 1.0, 5.0, 5.0]} if "bbox" in holds else
                                  {"segmentation": self.rle(self.images[0], self.rectangle(self.images[0]), True)})}]

    def make_parameters(self):
        max_dets = [1, 10, 100]
        if self.maybe(0.12, "maxDets of its own"):
            max_dets = self.pick([1, 2, 3], [1, 3, 100], [100, 10, 1], [2, 5, 1000], [1, 1, 100], [1, 10, 100, 1000])
        return max_dets, self.maybe(0.15, "class-agnostic")

    # ---- what is done to a finished case

    def disturb(self):
        rng, truths, detections = self.rng, self.truths, self.detections
        if self.maybe(0.08, "odd scores"):
            for detection in detections:
                if rng.random() < 0.5:
                    detection["score"] = self.pick(0.0, -0.0, 0, 1, 2, -1, 1.5, -0.25, 1e-300, 5e-324, 1e300, 0.1 + 0.2)
        if self.maybe(0.06, "boxes without area"):
            for item in truths + detections:
                if "bbox" in item and rng.random() < 0.3:
                    item["bbox"] = list(item["bbox"])
                    item["bbox"][self.pick(2, 3)] = 0
        if self.maybe(0.02, "negative box sides"):
            for item in truths + detections:
                if "bbox" in item and rng.random() < 0.2:
                    item["bbox"] = [item["bbox"][0], item["bbox"][1], -item["bbox"][2], self.pick(1, -1) * item["bbox"][3]]
        if self.maybe(0.02, "huge boxes"):
            for item in truths + detections:
                if "bbox" in item and rng.random() < 0.2:
                    item["bbox"] = [-5e4, -5e4, 1.2e5, 1.1e5]
        if self.maybe(0.04, "boxes beyond the picture"):
            for item in truths + detections:
                if "bbox" in item and rng.random() < 0.3:
                    item["bbox"] = [item["bbox"][0] - 40, item["bbox"][1] - 40.5, *item["bbox"][2:]]
        if self.maybe(0.05, "identical truths"):
            for truth in list(truths):
                if rng.random() < 0.4:
                    truths.insert(self.integer(0, len(truths) + 1), dict(truth, id=400 + truth["id"], iscrowd=self.pick(0, 0, 1)))
        if len(truths) > 1 and self.maybe(0.07, "duplicate annotation ids"):
            for _ in range(self.integer(1, 4)):
                truths[self.integer(0, len(truths))]["id"] = truths[self.integer(0, len(truths))]["id"]
        if truths and self.maybe(0.01, "negative annotation ids"):
            truths[0]["id"] = -5
        if truths and self.maybe(0.04, "annotation on an unknown picture"):
            truths[self.integer(0, len(truths))]["image_id"] = 77_777
        if truths and self.maybe(0.04, "annotation of an unknown category"):
            truths[self.integer(0, len(truths))]["category_id"] = 7_777
        if self.maybe(0.06, "detections of unknown categories"):
            for detection in detections:
                if rng.random() < 0.3:
                    detection["category_id"] = self.pick(0, 5_555, 7_777)
        if self.maybe(0.08, "category without ground truth"):
            truths[:] = [truth for truth in truths if truth["category_id"] != self.categories[0]["id"]]
        if self.maybe(0.02, "no ground truth at all"):
            truths.clear()
        if self.maybe(0.02, "duplicate picture entries"):
            self.images.append(dict(self.images[0]))
        if self.maybe(0.02, "duplicate category entries"):
            self.categories.append(dict(self.categories[0]))
        if self.maybe(0.02, "iscrowd as true and false"):
            for truth in truths:
                truth["iscrowd"] = bool(truth["iscrowd"])
        if self.maybe(0.05, "stray fields in detections"):
            for detection in detections:
                detection.update(self.pick({"id": 3}, {"area": 5.0}, {"iscrowd": 1}, {"ignore": 1}, {"note": {"a": [1, None, "\u00e9\\\""]}}))
        if self.type == "segm":
            self.disturb_masks()
        if self.rng.random() < 0.12:
            self.spoil()

    def disturb_masks(self):
        truths, detections = self.truths, self.detections
        if self.maybe(0.04, "empty masks"):
            for item in truths + detections:
                if isinstance(item.get("segmentation"), dict) and self.rng.random() < 0.4:
                    height, width = item["segmentation"]["size"]
                    compressed = isinstance(item["segmentation"]["counts"], str)
                    counts = mask.encode(np.zeros((height, width), np.uint8, order="F"))["counts"].decode()
                    item["segmentation"] = {"size": [height, width], "counts": counts if compressed else [height * width]}
        if self.maybe(0.03, "masks of another size"):
            for item in detections:
                if isinstance(item.get("segmentation"), dict) and self.rng.random() < 0.4:
                    other = {"width": item["segmentation"]["size"][1] + self.pick(0, 3), "height": item["segmentation"]["size"][0] + 2}
                    compressed = isinstance(item["segmentation"]["counts"], str)
                    item["segmentation"] = self.rle(other, [3.0, 4.0, 12.0, 15.0] if not self.lattice else [0, 0, 20, 9], compressed)
        if self.maybe(0.04, "polygons beyond the picture"):
            for item in truths + detections:
                if isinstance(item.get("segmentation"), list) and self.rng.random() < 0.5:
                    item["segmentation"] = [[v + self.pick(-30.25, 40.5) for v in part] for part in item["segmentation"]]
        if self.maybe(0.03, "degenerate polygons"):
            for item in truths + detections:
                if isinstance(item.get("segmentation"), list) and self.rng.random() < 0.5:
                    item["segmentation"] = item["segmentation"] + [self.pick([5.0, 5.0] * 3, [3.0, 4.0, 9.0, 4.0, 15.0, 4.0], [2.5, 2.5, 9.5, 9.5], [1, 1, 8, 1, 8, 8])]

    def spoil(self):
        """Something that pycocotools raises on, or is close to it."""
        truth = self.truths[self.integer(0, len(self.truths))] if self.truths else {}
        detection = self.detections[self.integer(0, len(self.detections))]
        masks = [d for d in self.detections if "segmentation" in d]

        def without_iscrowd():
            truth.pop("iscrowd", None)

        def without_area():
            truth.pop("area", None)

        def without_annotations_key():
            self.truths = None

        def without_categories_key():
            self.categories = None

        def no_categories():
            self.categories = []

        def no_detections():
            self.detections = []

        def unknown_picture():
            detection["image_id"] = 88_888

        def without_score():
            del detection["score"]

        def without_category():
            del detection["category_id"]

        def short_box():
            detection["bbox"] = [1.0, 2.0, 3.0]

        def empty_first_box():
            self.detections[0]["bbox"] = []

        def first_without_box():
            self.detections[0].pop("bbox", None)

        def last_without_box():
            self.detections[-1].pop("bbox", None)

        def some_boxes_beside_masks():
            for item in self.detections[1:]:
                item["bbox"] = [1.0, 1.0, 30.0, 30.0]

        def four_numbers():
            truth["segmentation"] = [[5.0, 5.0, 20.0, 20.0]]

        def no_polygons():
            truth["segmentation"] = []

        def odd_polygon():
            truth["segmentation"] = [[1.0, 1.0, 9.0, 1.0, 9.0, 9.0, 1.0]]

        def truth_without_segmentation():
            truth.pop("segmentation", None)

        def uncompressed_detections():
            for item in masks:
                item.pop("bbox", None)
                item["segmentation"] = {"size": [40, 50], "counts": [100, 30, 1870]}

        def polygon_detections():
            for item in masks:
                item.pop("bbox", None)
                item["segmentation"] = [[1.0, 1.0, 9.0, 1.0, 9.0, 9.0, 1.0, 9.0]]

        def two_max_dets():
            self.max_dets = [1, 10]

        def float_ids():
            for item in self.detections:
                item["image_id"] = float(item["image_id"])
                item["category_id"] = float(item["category_id"])

        def text_score():
            detection["score"] = "0.5"

        def null_box():
            detection["bbox"] = None

        def wrapped_detections():
            self.detections = {"annotations": self.detections}

        spoilers = [value for name, value in sorted(locals().items()) if callable(value)]
        chosen = spoilers[self.integer(0, len(spoilers))]
        self.features.add("spoiled: " + chosen.__name__.replace("_", " "))
        chosen()

    def finish(self):
        parts = {"images": self.images, "categories": self.categories, "annotations": self.truths,
                 "info": {"description": "made up", "nested": [{"a": None}, "\u00e9 \"quoted\" \\"]}}
        order = self.rng.permutation(list(parts)) if self.maybe(0.3, "top-level keys in another order") else list(parts)
        return {
            "gt": {str(key): parts[key] for key in order if parts[key] is not None},
            "detections": self.detections, "type": self.type, "max_dets": self.max_dets,
            "class_agnostic": self.class_agnostic, "features": sorted(self.features), "indent": self.pick(None, None, 1),
        }

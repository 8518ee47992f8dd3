#!/usr/bin/env python3
"""Made-up COCO data sets for score_coco.py: ground truth with polygons, detections as detectors write them.

    python benches/coco_sets.py WORK gt 5000                # WORK/gt-5000.json
    python benches/coco_sets.py WORK boxes 5000 36000       # WORK/boxes-5000-36000.json, and its ground truth
    python benches/coco_sets.py WORK masks 1000 20000       # WORK/masks-1000-20000.json, and its ground truth

Prints the paths of the files. A file that is there already is not written again.

The statistics follow COCO's val2017: picture sizes, 7.4 objects and about 3 categories a picture, 1 % empty
pictures, 41/34/24 % small/medium/large objects, 80 categories of very unequal frequency with the ids' gaps,
polygons of 12 to 60 points with two decimals, 8 % of the objects in two parts, 1 % crowds in uncompressed
RLE, picture and annotation ids with gaps and in no order. Detections are jittered ground truths and random
false positives, per picture from the best score down; numbers have the digits of a float32 written as a
float64, as detectron2 writes them (258.15252685546875). Mask detections hold a box beside the compressed RLE.

Everything is drawn block by block (of 1000 pictures) from (seed, block), so a larger set begins as a
smaller one does, and memory stays small.
"""
import json
import math
import os
import pathlib
import sys

import numpy as np

LAYOUT = 1  # part of the cached files' names: raise it when the generators change
SEED = 20170
BLOCK = 1000
OBJECTS_PER_IMAGE = 7.43
CATEGORY_IDS = np.array([i for i in range(1, 91) if i not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)])
SIZES = np.array([(640, 480), (480, 640), (640, 427), (640, 426), (500, 375), (427, 640), (612, 612), (640, 640)])
SIZE_SHARES = np.array([0.38, 0.13, 0.16, 0.10, 0.09, 0.08, 0.03, 0.03])
# (share, smallest and largest square root of the area) of small, medium and large objects
AREA_SHARES = ((0.415, 4.0, 32.0), (0.343, 32.0, 96.0), (0.242, 96.0, 420.0))
MAX_POINTS = 60
# How numbers of up to 1000 pixels with two decimals are written, by the number of hundredths.
HUNDREDTHS = [repr(i / 100) for i in range(100_001)]


def category_shares():
    """Frequencies of the categories: persons are a third, the rest follow a power law in shuffled order."""
    shares = 1.0 / np.arange(1, len(CATEGORY_IDS) + 1) ** 0.9
    shares[1:] = np.random.default_rng(SEED).permutation(shares[1:])
    shares[0] = shares[1:].sum() * 0.45
    return shares / shares.sum()


class Block:
    """Pictures and ground truth of one block; arrays have one entry an object unless they begin with `image`."""

    def __init__(self, index, images):
        rng = np.random.default_rng((SEED, index))
        self.index = index
        self.image_ids = index * 116 * BLOCK + 139 + rng.permutation(116 * BLOCK)[:images]
        sizes = SIZES[rng.choice(len(SIZES), images, p=SIZE_SHARES)]
        self.image_width, self.image_height = sizes[:, 0], sizes[:, 1]
        # A negative binomial has COCO's long tail; the empty pictures come on top.
        counts = 1 + rng.negative_binomial(0.9, 0.9 / (0.9 + OBJECTS_PER_IMAGE - 1), images)
        counts[rng.random(images) < 0.01] = 0
        self.image = np.repeat(np.arange(images), counts)
        n = len(self.image)
        # Each picture has a handful of categories, from which its objects draw.
        handful = rng.choice(len(CATEGORY_IDS), (images, 4), p=category_shares())
        self.image_categories = handful
        self.category = handful[self.image, np.minimum(rng.geometric(0.5, n) - 1, 3)]
        self.crowd = rng.random(n) < 0.01
        self.width, self.height = draw_sides(rng, n)
        self.place(rng)
        self.parts = 1 + (rng.random(n) < 0.08)
        self.parts[self.crowd] = 0
        self.ids = rng.permutation(index * 60_000 * 30 + 30 * np.arange(n) + rng.integers(1, 30, n))
        self.polygons(rng)

    def place(self, rng):
        width, height = self.image_width[self.image], self.image_height[self.image]
        self.width = np.minimum(self.width, 0.98 * width)
        self.height = np.minimum(self.height, 0.98 * height)
        self.x = rng.random(len(width)) * (width - self.width)
        self.y = rng.random(len(width)) * (height - self.height)

    def polygons(self, rng):
        """Outlines, in hundredths of a pixel; an object of two parts has them side by side."""
        self.part_of = np.repeat(np.arange(len(self.image)), self.parts)
        first = np.concatenate(([0], np.cumsum(self.parts)[:-1]))
        number = np.arange(len(self.part_of)) - first[self.part_of]
        halves = self.parts[self.part_of]
        width = self.width[self.part_of] / halves
        x = self.x[self.part_of] + number * width
        self.outline, self.points = outlines(
            rng, x, self.y[self.part_of], np.where(halves > 1, 0.9, 1.0) * width, self.height[self.part_of]
        )
        # The box of an object is its outline's, to the hundredth; a crowd keeps the one that was drawn.
        n = len(self.image)
        inside = (np.arange(MAX_POINTS) < self.points[:, None])[:, :, None]
        low, high = np.full((n, 2), 10**9), np.zeros((n, 2), np.int64)
        np.minimum.at(low, self.part_of, np.where(inside, self.outline, 10**9).min(axis=1))
        np.maximum.at(high, self.part_of, np.where(inside, self.outline, 0).max(axis=1))
        self.box = np.concatenate((low, high - low), axis=1)
        outlined = ~self.crowd
        self.x[outlined], self.y[outlined], self.width[outlined], self.height[outlined] = self.box[outlined].T / 100


def draw_sides(rng, n):
    """Widths and heights whose outlines have areas with COCO's shares of small, medium and large."""
    kind = rng.choice(3, n, p=[share for share, _, _ in AREA_SHARES])
    low = np.log([low for _, low, _ in AREA_SHARES])[kind]
    high = np.log([high for _, _, high in AREA_SHARES])[kind]
    root = np.exp(low + rng.random(n) * (high - low))
    aspect = np.exp(rng.normal(0.0, 0.4, n))
    box = root / math.sqrt(0.52)  # an outline fills about half of the box that is drawn
    return box * np.sqrt(aspect), box / np.sqrt(aspect)


def outlines(rng, x, y, width, height):
    """Star-shaped outlines inside boxes: hundredths of pixels (N, MAX_POINTS, 2), and how many points count."""
    n = len(x)
    # The larger the object, the more points: 12 to 60, 24 on average.
    points = np.clip(np.rint(2.6 * (width * height) ** 0.25 * rng.uniform(0.7, 1.3, n)), 12, MAX_POINTS).astype(int)
    turn = (np.arange(MAX_POINTS) + rng.uniform(0.0, 0.8, (n, MAX_POINTS))) / points[:, None] * 2 * math.pi
    radius = 0.8 + 0.1 * np.sin(2 * turn + rng.uniform(0, 7, (n, 1))) + 0.07 * np.sin(5 * turn + rng.uniform(0, 7, (n, 1)))
    radius += rng.uniform(-0.03, 0.03, radius.shape)
    outline = np.stack((
        x[:, None] + (0.5 + 0.5 * radius * np.cos(turn)) * width[:, None],
        y[:, None] + (0.5 + 0.5 * radius * np.sin(turn)) * height[:, None],
    ), axis=2)
    return np.rint(outline * 100).astype(np.int64), points


def polygon_areas(outline, points):
    """Shoelace areas in square pixels."""
    inside = np.arange(MAX_POINTS) < points[:, None]
    # Points past the last one are the first again, which adds nothing to the sum.
    closed = np.where(inside[:, :, None], outline, outline[:, :1])
    after = np.roll(closed, -1, axis=1)
    cross = closed[:, :, 0] * after[:, :, 1] - closed[:, :, 1] * after[:, :, 0]
    return np.abs(cross.sum(axis=1)) / 20_000.0


def crowd_pool(width, height):
    """A few crowd regions of one picture size, as (counts, area, box)."""
    rng = np.random.default_rng((SEED, width, height))
    pool = []
    rows, columns = np.mgrid[0:height, 0:width]
    for _ in range(16):
        mask = np.zeros((height, width), bool)
        for _ in range(rng.integers(4, 12)):
            cx, cy = rng.uniform(0, width), rng.uniform(0.3 * height, 0.8 * height)
            a, b = rng.uniform(8, 70), rng.uniform(8, 50)
            mask |= ((columns - cx) / a) ** 2 + ((rows - cy) / b) ** 2 < 1
        flat = mask.ravel(order="F")
        edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
        counts = np.diff(np.concatenate(([0], edges, [flat.size])))
        counts = ([0] if flat[0] else []) + counts.tolist()
        ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = [int(xs[0]), int(ys[0]), int(xs[-1] - xs[0] + 1), int(ys[-1] - ys[0] + 1)]
        pool.append((json.dumps(counts), int(mask.sum()), box))
    return pool


def annotations(block, crowds):
    """One JSON text an object."""
    n = len(block.image)
    areas = np.bincount(block.part_of, polygon_areas(block.outline, block.points), minlength=n)
    pieces = [[] for _ in range(n)]
    text = HUNDREDTHS.__getitem__
    for part, outline, points in zip(block.part_of.tolist(), block.outline, block.points.tolist()):
        pieces[part].append("[" + ", ".join(map(text, outline[:points].ravel().tolist())) + "]")
    for i in range(n):
        image = block.image[i]
        if block.crowd[i]:
            width, height = int(block.image_width[image]), int(block.image_height[image])
            if (width, height) not in crowds:
                crowds[width, height] = crowd_pool(width, height)
            counts, area, box = crowds[width, height][block.ids[i] % 16]
            segmentation, number = f'{{"counts": {counts}, "size": [{height}, {width}]}}', 900_100_000_000 + block.ids[i]
        else:
            segmentation, area, number = "[" + ", ".join(pieces[i]) + "]", float(areas[i]), block.ids[i]
            box = "[" + ", ".join(map(text, block.box[i].tolist())) + "]"
        yield (
            f'{{"segmentation": {segmentation}, "area": {area}, "iscrowd": {int(block.crowd[i])}, '
            f'"image_id": {block.image_ids[image]}, "bbox": {box}, '
            f'"category_id": {CATEGORY_IDS[block.category[i]]}, "id": {number}}}'
        )


def image_texts(block):
    for number, width, height in zip(block.image_ids.tolist(), block.image_width.tolist(), block.image_height.tolist()):
        yield (
            f'{{"license": {1 + number % 8}, "file_name": "{number:012}.jpg", '
            f'"coco_url": "http://images.example.org/val2017/{number:012}.jpg", "height": {height}, "width": {width}, '
            f'"date_captured": "2013-11-14 17:02:52", "flickr_url": "http://farm.example.org/7/{number}_z.jpg", "id": {number}}}'
        )


def blocks(images):
    for index in range(math.ceil(images / BLOCK)):
        yield Block(index, min(BLOCK, images - index * BLOCK))


def write_ground_truth(path, images):
    crowds = {}
    with replacing(path) as file:
        file.write('{"info": {"description": "made up", "version": "1.0", "year": 2017}, "licenses": [')
        file.write(", ".join(f'{{"url": "http://licenses.example.org/{i}", "id": {i}, "name": "{i}"}}' for i in range(1, 9)))
        write_list(file, '], "images": [', (text for block in blocks(images) for text in image_texts(block)))
        write_list(file, '], "annotations": [', (text for block in blocks(images) for text in annotations(block, crowds)))
        names = (f'{{"supercategory": "thing", "id": {i}, "name": "category {i}"}}' for i in CATEGORY_IDS.tolist())
        write_list(file, '], "categories": [', names)
        file.write("]}")


class Detections:
    """Jittered ground truths and false positives of a block, in the order in which they are written."""

    def __init__(self, block, count):
        rng = np.random.default_rng((SEED, block.index, count))
        objects = len(block.image)
        hits = min(int(0.62 * count), 7 * objects)
        source = np.concatenate((rng.permutation(objects), rng.integers(0, objects, max(0, hits - objects))))[:hits]
        image = np.concatenate((block.image[source], rng.integers(0, len(block.image_ids), count - hits)))
        # The first detection of an object is good, further ones less so.
        jitter = np.where(np.arange(hits) < objects, 0.05, 0.16) * rng.gamma(1.5, 1.0, hits)
        sides = draw_sides(rng, count - hits)
        self.width = np.concatenate((block.width[source] * np.exp(rng.normal(0, 1, hits) * jitter), sides[0]))
        self.height = np.concatenate((block.height[source] * np.exp(rng.normal(0, 1, hits) * jitter), sides[1]))
        room_x, room_y = block.image_width[image], block.image_height[image]
        self.width, self.height = np.minimum(self.width, 0.98 * room_x), np.minimum(self.height, 0.98 * room_y)
        shift = rng.normal(0, 0.7, (2, hits)) * jitter
        x = np.concatenate((block.x[source] + shift[0] * block.width[source], rng.random(count - hits) * room_x[hits:]))
        y = np.concatenate((block.y[source] + shift[1] * block.height[source], rng.random(count - hits) * room_y[hits:]))
        self.x, self.y = np.clip(x, 0, room_x - self.width), np.clip(y, 0, room_y - self.height)
        own = np.concatenate((block.category[source], block.image_categories[image[hits:], rng.integers(0, 4, count - hits)]))
        stray = rng.random(count) < np.where(np.arange(count) < hits, 0.08, 0.4)
        self.category = np.where(stray, rng.choice(len(CATEGORY_IDS), count, p=category_shares()), own)
        quality = np.concatenate((np.exp(-3 * jitter), np.full(count - hits, 0.12)))
        self.score = np.clip(rng.beta(1 + 6 * quality, 1 + 6 * (1 - quality)), 0.001, 0.9999).astype(np.float32)
        self.image = image
        self.order = np.lexsort((-self.score, image))


def write_boxes(path, images, count):
    def texts():
        for block, share in zip(blocks(images), shares(images, count)):
            d = Detections(block, share)
            boxes = np.stack((d.x, d.y, d.width, d.height), axis=1).astype(np.float32)[d.order].astype(float).tolist()
            for image, category, box, score in zip(
                block.image_ids[d.image[d.order]].tolist(), CATEGORY_IDS[d.category[d.order]].tolist(), boxes,
                d.score[d.order].astype(float).tolist(),
            ):
                yield f'{{"image_id": {image}, "category_id": {category}, "bbox": {box}, "score": {score}}}'

    with replacing(path) as file:
        write_list(file, "[", texts())
        file.write("]")


def write_masks(path, images, count):
    from pycocotools import mask

    def texts():
        for block, share in zip(blocks(images), shares(images, count)):
            d = Detections(block, share)
            outline, points = outlines(np.random.default_rng((SEED, block.index, 7)), d.x, d.y, d.width, d.height)
            for i in d.order.tolist():
                image = d.image[i]
                polygon = (outline[i, : points[i]] / 100).ravel().tolist()
                (rle,) = mask.frPyObjects([polygon], int(block.image_height[image]), int(block.image_width[image]))
                box = mask.toBbox(rle).tolist()
                rle["counts"] = rle["counts"].decode()
                yield json.dumps({
                    "image_id": int(block.image_ids[image]), "category_id": int(CATEGORY_IDS[d.category[i]]),
                    "bbox": box, "score": float(d.score[i]), "segmentation": rle,
                })

    with replacing(path) as file:
        write_list(file, "[", texts())
        file.write("]")


def shares(images, count):
    """The detections of each block, in proportion to its pictures."""
    done = 0
    for first in range(0, images, BLOCK):
        until = count * min(images, first + BLOCK) // images
        yield until - done
        done = until


def write_list(file, opening, texts):
    file.write(opening)
    separator = ""
    for text in texts:
        file.write(separator + text)
        separator = ", "


class replacing:
    """A text file that appears under its name only when it is whole."""

    def __init__(self, path):
        self.path, self.partial = path, path.with_suffix(".partial")

    def __enter__(self):
        self.file = open(self.partial, "w", buffering=1 << 20)
        return self.file

    def __exit__(self, failure, *_):
        self.file.close()
        if failure is None:
            os.replace(self.partial, self.path)


def make(work, kind, images, count=0):
    """Writes the files of a set that are not there yet, and returns the paths."""
    folder = pathlib.Path(work)
    folder.mkdir(parents=True, exist_ok=True)
    ground_truth = folder / f"gt-{images}.v{LAYOUT}.json"
    if not ground_truth.exists():
        write_ground_truth(ground_truth, images)
    if kind == "gt":
        return [ground_truth]
    detections = folder / f"{kind}-{images}-{count}.v{LAYOUT}.json"
    if not detections.exists():
        {"boxes": write_boxes, "masks": write_masks}[kind](detections, images, count)
    return [ground_truth, detections]


if __name__ == "__main__":
    print(*make(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])), sep="\n")

"""Records what shapely makes of polygons cut to a window, by the steps of fvcore's CropTransform.

    python make.py        (shapely 2.2.0; writes cases.json beside itself)
"""

import json
import math
import pathlib
import random

import shapely
from shapely import geometry

SEED = 20


def pieces(polygon, width, height):
    window = geometry.box(0, 0, width, height).buffer(0.0)
    whole = geometry.Polygon(list(zip(polygon[::2], polygon[1::2]))).buffer(0.0)
    if not whole.is_valid:
        return []
    inside = whole.intersection(window)
    parts = getattr(inside, "geoms", [inside])
    return [
        list(part.exterior.coords)[:-1]
        for part in parts
        if isinstance(part, geometry.Polygon) and part.is_valid and not part.is_empty
    ]


def drawn(rng, kind):
    """A polygon of one kind; two decimals, as COCO writes them."""
    if kind == "star":  # does not cross itself, concave
        x, y, size = rng.uniform(-10, 50), rng.uniform(-10, 50), rng.uniform(3, 40)
        angles = sorted(rng.uniform(0, 2 * math.pi) for _ in range(rng.randint(4, 40)))
        radii = [size * rng.uniform(0.15, 1) for _ in angles]
        points = [(x + r * math.cos(a), y + r * math.sin(a)) for a, r in zip(angles, radii)]
    elif kind == "scribble":  # crosses itself at will
        points = [(rng.uniform(-20, 60), rng.uniform(-20, 60)) for _ in range(rng.randint(3, 12))]
    elif kind == "lattice":  # meets itself at corners and along edges
        points = [(rng.randint(-1, 5) * 10, rng.randint(-1, 5) * 10) for _ in range(rng.randint(3, 9))]
    else:  # a hand that trembles: small crossings
        x, y, size, count = rng.uniform(0, 40), rng.uniform(0, 40), rng.uniform(8, 30), rng.randint(10, 60)
        points = []
        for i in range(count):
            angle, radius = 2 * math.pi * (i + rng.uniform(-0.9, 0.9)) / count, size * rng.uniform(0.8, 1)
            points.append((x + radius * math.cos(angle), y + radius * math.sin(angle)))
    if rng.random() < 0.5:
        points.reverse()
    return [round(value, 2) for point in points for value in point]


def main():
    rng = random.Random(SEED)
    cases = []
    for index in range(240):
        kind = ["star", "scribble", "lattice", "hand"][index % 4]
        polygon = drawn(rng, kind)
        width, height = rng.choice([(40, 40), (30, 50), (50, 33)])
        parts = pieces(polygon, width, height)
        cases.append(
            {
                "kind": kind,
                "polygon": polygon,
                "window": [width, height],
                "areas": sorted(geometry.Polygon(part).area for part in parts),
                "boxes": sorted(list(geometry.Polygon(part).bounds) for part in parts),
            }
        )
    out = {"shapely": shapely.__version__, "geos": shapely.geos_version_string, "cases": cases}
    text = json.dumps(out).replace('{"kind"', '\n{"kind"')
    (pathlib.Path(__file__).parent / "cases.json").write_text(text + "\n")


main()

"""Records what SciPy makes of BEiT's relative position bias tables on other grids.

    python make.py        (scipy; writes tables.safetensors beside itself)

The scheme is that of OliverRensu/DeepMIM `Segmentation/mmcv_custom/checkpoint.py` and mmsegmentation's
`BEiT.resize_rel_pos_embed`: known offsets are spread out in a geometric progression, and SciPy lays a
bicubic spline through them. Both call `interp2d`, which SciPy 1.14 removed; on a regular grid that is
`RectBivariateSpline` of degree 3 without smoothing, which SciPy's notes on the change name.

`A_to_B/in` is a table float32 [(2 A - 1)² + 3, heads], `A_to_B/out` the one of side B in float64; of large
ones `A_to_B/rows` lists the rows that were kept.
"""

import pathlib

import numpy
from safetensors.numpy import save_file
from scipy.interpolate import RectBivariateSpline

SEED = 14
# side before, side after, heads; the fourth is the published models' way from 224 to 512 pixels
CASES = [(3, 5, 2), (7, 4, 1), (6, 7, 2), (14, 32, 1), (14, 6, 1)]
KEPT = 90


def ratio(steps, reach):
    low, high = 1.01, 1.5
    while high - low > 1e-6:
        middle = (low + high) / 2.0
        if (1.0 - middle**steps) / (1.0 - middle) > reach:
            high = middle
        else:
            low = middle
    return middle


def resampled(table, before, after):
    span = 2 * before - 1
    q = ratio(before - 1, after - 1)
    places, place = [], 1
    for step in range(before - 1):
        places.append(place)
        place += q ** (step + 1)
    axis = [-place for place in reversed(places)] + [0] + places
    at = numpy.arange(-(after - 1.0), after - 0.9, 1.0)
    heads = []
    for head in table[:-3].T:
        spline = RectBivariateSpline(axis, axis, head.reshape(span, span), kx=3, ky=3, s=0)
        heads.append(spline(at, at).reshape(-1))
    return numpy.concatenate([numpy.stack(heads, 1), table[-3:].astype(numpy.float64)])


def main():
    rng = numpy.random.default_rng(SEED)
    out = {}
    for before, after, heads in CASES:
        name = f"{before}_to_{after}"
        table = rng.standard_normal(((2 * before - 1) ** 2 + 3, heads)).astype(numpy.float32)
        new = resampled(table, before, after)
        out[f"{name}/in"] = table
        if len(new) > 2 * KEPT:
            rows = rng.choice(len(new) - 3, KEPT, replace=False)
            rows = numpy.sort(numpy.concatenate([rows, len(new) - numpy.arange(1, 4)]))
            out[f"{name}/rows"] = rows.astype(numpy.int64)
            new = new[rows]
        out[f"{name}/out"] = numpy.ascontiguousarray(new)
    save_file(out, pathlib.Path(__file__).parent / "tables.safetensors")


main()

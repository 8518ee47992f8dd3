"""Records picture operations of Pillow and torchvision on made-up pictures.

    python make.py   (parity/requirements.txt). Writes cases.json and pictures.safetensors beside itself.

Nothing is random: the pictures come from integer formulas, the arguments are listed below. The
operations are those of timm's RandAugment (which calls Pillow) and torchvision's ColorJitter.
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps
from safetensors.numpy import save_file
from torchvision.transforms import functional as F

FILL = (124, 116, 104)
FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def pictures():
    """Name -> [H, W, 3] uint8."""
    y, x = np.mgrid[0:17, 0:23].astype(np.int64)
    busy = np.stack(
        [(x * x * 7 + y * 31) % 256, (x * 11 + y * y * 5 + x * y) % 256, (255 - x * 9 - y * 3) % 256],
        axis=-1,
    )
    # A narrow range per channel, so that stretching and equalising have something to do; the last
    # channel is flat, which both leave alone.
    narrow = np.stack([60 + (x + 2 * y) % 90, 100 + (x * y) % 40, np.full_like(x, 77)], axis=-1)
    # 48 x 48 colours all over the cube, including greys and pure hues, with many pixels per level.
    v, u = np.mgrid[0:48, 0:48].astype(np.int64)
    colours = np.stack([(u * 37 + v * 5) % 256, (u * 3 + v * 83) % 256, (u * v * 13 + 7 * u) % 256], axis=-1)
    colours[0, :] = (np.arange(48) * 5)[:, None]
    colours[1, :6] = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [0, 255, 255], [255, 0, 255]]
    named = {"busy": busy, "narrow": narrow, "colours": colours}
    return {name: np.ascontiguousarray(a.astype(np.uint8)) for name, a in named.items()}


def affine(image, matrix, resample):
    return image.transform(image.size, Image.Transform.AFFINE, matrix, resample=resample, fillcolor=FILL)


def solarize_add(image, amount):
    table = [min(255, i + amount) if i < 128 else i for i in range(256)]
    return image.point(table * 3)


PLAIN = {
    "auto_contrast": (lambda image: ImageOps.autocontrast(image), [()]),
    "equalize": (lambda image: ImageOps.equalize(image), [()]),
    "invert": (lambda image: ImageOps.invert(image), [()]),
    "posterize": (ImageOps.posterize, [(1,), (3,), (8,)]),
    "solarize": (ImageOps.solarize, [(0,), (26,), (167,), (256,)]),
    "solarize_add": (solarize_add, [(38,), (99,), (110,)]),
    "color": (lambda image, f: ImageEnhance.Color(image).enhance(f), [(0.0,), (0.19,), (0.73,), (1.81,)]),
    "contrast": (lambda image, f: ImageEnhance.Contrast(image).enhance(f), [(0.0,), (0.19,), (0.73,), (1.81,)]),
    "brightness": (lambda image, f: ImageEnhance.Brightness(image).enhance(f), [(0.0,), (0.19,), (0.73,), (1.81,)]),
    "sharpness": (lambda image, f: ImageEnhance.Sharpness(image).enhance(f), [(0.0,), (0.19,), (1.81,)]),
    "hue": (F.adjust_hue, [(-0.5,), (-0.13,), (0.02,), (0.31,), (0.5,)]),
}
WARPS = {
    "rotate": (
        lambda image, degrees, resample: image.rotate(degrees, resample=resample, fillcolor=FILL),
        [(-27.0,), (10.5,), (90.0,), (0.0,)],
    ),
    "shear_x": (lambda image, f, r: affine(image, (1, f, 0, 0, 1, 0), r), [(0.27,), (-0.105,)]),
    "shear_y": (lambda image, f, r: affine(image, (1, 0, 0, f, 1, 0), r), [(0.27,), (-0.105,)]),
    "translate_x": (lambda image, p, r: affine(image, (1, 0, p, 0, 1, 0), r), [(4.55,), (-11.7,), (100.0,)]),
    "translate_y": (lambda image, p, r: affine(image, (1, 0, 0, 0, 1, p), r), [(4.55,), (-3.7,)]),
}


def main():
    folder = Path(__file__).parent
    inputs = pictures()
    tensors = {f"input/{name}": array for name, array in inputs.items()}
    cases = []

    def record(picture, op, args, resample, result):
        key = f"output/{len(cases)}"
        tensors[key] = np.ascontiguousarray(np.asarray(result))
        cases.append({"picture": picture, "op": op, "args": args, "filter": resample, "output": key})

    for name, array in inputs.items():
        image = Image.fromarray(array)
        for op, (run, arguments) in PLAIN.items():
            # The larger picture is there for what depends on colours or counts alone.
            if name == "colours" and op not in ("hue", "equalize", "color"):
                continue
            for args in arguments:
                record(name, op, list(args), None, run(image, *args))
        if name == "busy":
            for op, (run, arguments) in WARPS.items():
                for args in arguments:
                    for label, resample in FILTERS.items():
                        record(name, op, list(args), label, run(image, *args, resample))
    (folder / "cases.json").write_text(json.dumps({"fill": FILL, "cases": cases}, indent=1) + "\n")
    save_file(tensors, folder / "pictures.safetensors")
    (folder / "pictures.safetensors").chmod(0o644)
    print(f"{len(cases)} cases in {folder}")


if __name__ == "__main__":
    main()

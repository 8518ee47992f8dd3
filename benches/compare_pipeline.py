#!/usr/bin/env python3
"""Training data pipeline, ours against torchvision + Pillow (+ timm), at equal cores.

JPEG files of 500x375 pixels -> decoded -> augmented, normalised float32 tensor of 3x224x224, in batches of 32.
Two recipes: `pretrain` (RandomResizedCrop bicubic, flip) and `finetune` (also rand-m9-mstd0.5-inc1 and random
erasing 0.25), as MAE and DeepMIM train.

    python -m venv env && env/bin/pip install -r benches/requirements.txt
    . scripts/setup.sh && env/bin/python benches/compare_pipeline.py --threads 1 2

Prints a Markdown table; the best of the repetitions counts on both sides. Workers of the PyTorch side are
processes of its DataLoader, as in its training scripts; ours are threads.
"""
import argparse
import json
import pathlib
import platform
import subprocess
import sys
import tempfile
import time


def make_pictures(folder, count):
    """Photograph-like pictures: smooth colour, edges and grain, about 40 KB each at quality 85."""
    import numpy
    from PIL import Image

    rng = numpy.random.default_rng(0)
    for i in range(count):
        coarse = rng.integers(0, 256, (12, 16, 3), dtype=numpy.uint8)
        picture = numpy.asarray(Image.fromarray(coarse).resize((500, 375), Image.BICUBIC)).astype(numpy.float32)
        y, x = numpy.mgrid[0:375, 0:500]
        for _ in range(12):
            cx, cy, r = rng.uniform(0, 500), rng.uniform(0, 375), rng.uniform(10, 80)
            inside = ((x - cx) ** 2 + (y - cy) ** 2 < r * r)[..., None]
            picture = numpy.where(inside, rng.uniform(0, 255, 3) + 20 * numpy.sin((x + y) / rng.uniform(1, 9))[..., None], picture)
        picture += rng.normal(0, 8, picture.shape)
        target = folder / f"class{i % 4}"
        target.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.clip(0, 255).astype(numpy.uint8)).save(target / f"{i:04}.jpg", quality=85)


def reference(folder, threads, repetitions, recipe):
    import torch
    from PIL import ImageOps
    from timm.data import create_transform
    from torchvision import datasets, transforms

    torch.set_num_threads(1)
    # timm asks for 0 bits at the top of PosterizeIncreasing, which Pillow 13 refuses; 1 bit costs the same.
    posterize = ImageOps.posterize
    ImageOps.posterize = lambda image, bits: posterize(image, max(1, bits))
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    if recipe == "pretrain":
        transform = transforms.Compose([
            transforms.RandomResizedCrop(224, scale=(0.2, 1.0), interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(mean, std),
        ])
    else:
        transform = create_transform(
            224, is_training=True, auto_augment="rand-m9-mstd0.5-inc1", interpolation="bicubic",
            re_prob=0.25, re_mode="pixel", re_count=1, mean=mean, std=std, color_jitter=None,
        )
    dataset = datasets.ImageFolder(folder, transform=transform)
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=32, shuffle=True, num_workers=threads, persistent_workers=True,
    )
    best = 0.0
    for _ in range(repetitions + 1):  # the first starts the worker processes
        start = time.perf_counter()
        for _ in loader:
            pass
        best = max(best, len(dataset) / (time.perf_counter() - start))
    return best


def ours(folder, threads, repetitions, recipe):
    root = pathlib.Path(__file__).resolve().parent.parent
    command = [
        "cargo", "run", "--quiet", "--release", "-p", "deepmim-data", "--example", "pipeline_throughput", "--",
        str(folder), str(threads), str(repetitions + 1), recipe,
    ]
    out = subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(out)["pictures_per_second"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--pictures", type=int, default=512)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--folder", help="class folders to read instead of made-up pictures")
    options = parser.parse_args()

    import PIL
    import timm
    import torch
    import torchvision

    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder
        if folder is None:
            folder = pathlib.Path(temporary)
            make_pictures(folder, options.pictures)
        print(f"Python {platform.python_version()}, torch {torch.__version__}, torchvision {torchvision.__version__}, "
              f"Pillow {PIL.__version__}, timm {timm.__version__}\n")
        print("| recipe | threads | torchvision + Pillow (pictures/s) | ours (pictures/s) | ratio |")
        print("|---|---|---|---|---|")
        for recipe in ("pretrain", "finetune"):
            for threads in options.threads:
                theirs = reference(folder, threads, options.repetitions, recipe)
                own = ours(folder, threads, options.repetitions, recipe)
                print(f"| {recipe} | {threads} | {theirs:.0f} | {own:.0f} | {own / theirs:.2f} |")
                sys.stdout.flush()


if __name__ == "__main__":
    main()

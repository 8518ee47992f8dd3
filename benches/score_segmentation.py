"""Folders of label maps to mIoU, deepmim against mmsegmentation's IoUMetric, side by side.

    pip install -r benches/requirements.txt
    pip install --no-deps mmsegmentation==1.2.2 mmcv-lite==2.1.0 mmengine==0.10.7    # they ask for another OpenCV
    python benches/score_segmentation.py

Draws label maps (regions with wavy borders, predictions with shifted borders and wrong patches), writes
them as PNG and scores the two folders with both. Decoding is included: on the Python side by Pillow or
OpenCV, whichever is quicker here, in as many threads as the Rust program gets, ahead of the metric. The
metric is fed bytes, the quickest type it takes. Both sides take turns; medians are compared.
On a machine that is busy with other work, `--clock cpu --threads 1` compares processor time instead.
Before all that, the metric alone: see `eval/examples/segmentation_throughput.rs`.
"""

import argparse
import concurrent.futures
import importlib.metadata
import json
import os
import pathlib
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import cv2
import numpy as np
import torch
from PIL import Image

sys.dont_write_bytecode = True  # a benchmark leaves nothing in the clone
ROOT = pathlib.Path(__file__).resolve().parent.parent
BASES = 40  # maps drawn from nothing; the others are their flipped, rolled and relabelled copies


def build():
    command = ["cargo", "build", "--release", "-p", "deepmim-eval", "--example", "segmentation_throughput", "--message-format=json"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit("the Rust side did not build")
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "segmentation_throughput":
            return message["executable"]
    sys.exit("cargo named no executable")


def regions(random, height, width, classes):
    """A label map of 30 regions."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    x = columns + 6 * np.sin(0.13 * rows) + 3 * np.cos(0.31 * columns)
    y = rows + 6 * np.sin(0.11 * columns)
    best = np.full((height, width), np.inf, np.float32)
    labels = np.zeros((height, width), np.uint8)
    for _ in range(30):
        distance = (x - random.uniform(0, width)) ** 2 + (y - random.uniform(0, height)) ** 2
        labels[distance < best] = random.integers(classes)
        np.minimum(best, distance, out=best)
    return labels


def predicted(random, labels, classes):
    """Borders shifted by up to four pixels, patches of other classes."""
    height, width = labels.shape
    shift = np.rint(4 * np.sin(0.2 * np.arange(height))).astype(int)
    columns = np.clip(np.arange(width)[None] + shift[:, None], 0, width - 1)
    prediction = np.take_along_axis(labels, columns, axis=1)
    rows, columns = np.ogrid[:height, :width]
    for _ in range(60):
        x, y, radius = random.integers(width), random.integers(height), random.integers(2, 27)
        top, left = max(y - radius, 0), max(x - radius, 0)
        window = np.s_[top : y + radius, left : x + radius]
        inside = (rows[top : y + radius] - y) ** 2 + (columns[:, left : x + radius] - x) ** 2 < radius**2
        prediction[window][inside] = random.integers(classes)
    return prediction


def draw(folder, options):
    random = np.random.default_rng(options.seed)
    bases = []
    for _ in range(min(BASES, options.images)):
        labels = regions(random, options.height, options.width, options.classes)
        bases.append((labels, predicted(random, labels, options.classes)))
    for side in ("gt", "pred"):
        (folder / side).mkdir(parents=True, exist_ok=True)
    for i in range(options.images):
        numbers = np.append(random.permutation(options.classes), np.full(256 - options.classes, 255)).astype(np.uint8)
        flip, roll = random.integers(2), random.integers(options.width)
        for side, base in zip(("gt", "pred"), bases[i % len(bases)]):
            labels = np.roll(base[:, ::-1] if flip else base, roll, axis=1)
            labels = numbers[labels]
            if side == "gt":
                labels[:3] = 255  # a little that is ignored
            Image.fromarray(labels).save(folder / side / f"{i:06}.png")


def with_pillow(path):
    return np.array(Image.open(path))


def with_opencv(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def quicker_decoder(paths):
    seconds = {}
    for decoder in (with_pillow, with_opencv, with_pillow, with_opencv):
        start = time.perf_counter()
        for path in paths:
            decoder(path)
        seconds[decoder] = time.perf_counter() - start
    return min(seconds, key=seconds.get), {d.__name__: round(1e3 * s / len(paths), 3) for d, s in seconds.items()}


class Theirs:
    def __init__(self, decoder, options):
        from mmseg.evaluation.metrics import IoUMetric

        cv2.setNumThreads(1)  # files are decoded in parallel instead
        torch.set_num_threads(options.threads)
        self.make, self.decoder, self.options = IoUMetric, decoder, options

    def samples(self, folder):
        names = sorted(os.listdir(folder / "gt"))

        def read(name):
            gt, pred = (torch.from_numpy(self.decoder(folder / side / name)) for side in ("gt", "pred"))
            return {"gt_sem_seg": {"data": gt}, "pred_sem_seg": {"data": pred}}

        if self.options.threads == 1:
            yield from map(read, names)
            return
        with concurrent.futures.ThreadPoolExecutor(self.options.threads) as pool:
            # A bounded look-ahead, as a data loader has.
            waiting = []
            for name in names:
                waiting.append(pool.submit(read, name))
                if len(waiting) > 8:
                    yield waiting.pop(0).result()
            for future in waiting:
                yield future.result()

    def run(self, folder):
        clock = time.process_time if self.options.clock == "cpu" else time.perf_counter
        start = clock()
        metric = self.make(iou_metrics=["mIoU"])
        metric.dataset_meta = {"classes": [str(i) for i in range(self.options.classes)]}
        for sample in self.samples(folder):
            metric.process({}, [sample])
        areas = [sum(part) for part in zip(*metric.results)]
        scores = metric.total_area_to_metrics(*areas, ["mIoU"])
        seconds = clock() - start
        exact = [sum(area.double() for area in part) for part in zip(*metric.results)]
        return seconds, float(np.nanmean(scores["IoU"])), float((exact[0] / exact[1]).nanmean())


def processor_seconds_of_children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run_ours(program, folder, options):
    command = [program, folder / "gt", folder / "pred", str(options.classes), "--threads", str(options.threads), "--rounds", "1"]
    before = processor_seconds_of_children()
    answer = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    if options.clock == "cpu":
        answer["seconds"] = processor_seconds_of_children() - before
    return answer


def processor():
    if os.path.exists("/proc/cpuinfo"):
        for line in open("/proc/cpuinfo"):
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--width", type=int, default=683)
    parser.add_argument("--height", type=int, default=512)
    parser.add_argument("--classes", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3, help="measured runs of each side")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--folder", type=pathlib.Path, help="keep the maps here, or use those that are here")
    parser.add_argument("--program", help="a built example instead of building one")
    options = parser.parse_args()

    program = options.program or build()
    alone = json.loads(subprocess.run([program], check=True, stdout=subprocess.PIPE, text=True).stdout)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or pathlib.Path(temporary)
        if not (folder / "gt").exists():
            print("drawing label maps", file=sys.stderr)
            draw(folder, options)
        paths = sorted((folder / "gt").iterdir())
        decoder, decoding = quicker_decoder(paths[:100])
        theirs = Theirs(decoder, options)
        times = {"deepmim": [], "mmsegmentation": []}
        for turn in range(options.rounds):
            ours = run_ours(program, folder, options)
            seconds, single, exact = theirs.run(folder)
            times["deepmim"].append(ours["seconds"])
            times["mmsegmentation"].append(seconds)
            print(f"round {turn}: deepmim {ours['seconds']:.3f} s, mmsegmentation {seconds:.3f} s", file=sys.stderr)
        if abs(ours["mIoU"] - exact) > 1e-9:
            sys.exit(f"the two disagree: deepmim {ours['mIoU']}, mmsegmentation's areas {exact}")
    medians = {name: statistics.median(values) for name, values in times.items()}
    versions = {name: importlib.metadata.version(name) for name in ("mmsegmentation", "torch", "numpy", "pillow", "opencv-python-headless")}
    result = {
        "machine": f"{processor()}, {os.cpu_count()} CPUs",
        "threads": options.threads,
        "clock": options.clock,
        "versions": versions,
        "maps": f"{len(paths)} pairs of {options.width}x{options.height}, {options.classes} classes",
        "python_decoder": decoder.__name__,
        "python_decoding_ms": decoding,
        "rounds": options.rounds,
        "deepmim_seconds": round(medians["deepmim"], 4),
        "deepmim_range": [round(min(times["deepmim"]), 4), round(max(times["deepmim"]), 4)],
        "mmsegmentation_seconds": round(medians["mmsegmentation"], 4),
        "mmsegmentation_range": [round(min(times["mmsegmentation"]), 4), round(max(times["mmsegmentation"]), 4)],
        "times_faster": round(medians["mmsegmentation"] / medians["deepmim"], 2),
        "mIoU": {"deepmim": ours["mIoU"], "mmsegmentation": single, "mmsegmentation_areas_in_float64": exact},
        "metric_alone": alone,
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""`deepmim score coco` against pycocotools, faster-coco-eval and hotcoco: the same files, whole processes.

    python -m venv env && env/bin/pip install -r benches/requirements-coco.txt
    cargo build --release -p deepmim-cli --bin deepmim
    cargo build --release -p deepmim-eval --example hotcoco_score
    env/bin/python benches/score_coco.py

Every run is a process of its own, from its start to its end, loading included. Evaluators take turns, round
by round, and medians count; `CPU` is user and system time, which other load on the machine disturbs less
than wall time; `peak` is the largest resident memory. A name that ends in `-1` runs on one thread. The
columns `hotcoco ÷ it` are hotcoco's medians (on one thread for names in `-1`) over the evaluator's: above 1,
the evaluator is that many times as fast as hotcoco. All evaluators have to agree on the twelve
numbers to 1e-9.

Workloads (made by coco_sets.py in the folder --work, and kept there):
    boxes     5,000 pictures, 36,000 detections
    many      5,000 pictures, 500,000 detections
    masks     1,000 pictures, 20,000 compressed-RLE masks
    scaling   7.2 boxes a picture for 5,000, 20,000 and 100,000 pictures; deepmim and hotcoco alone
"""
import argparse
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time

# numpy stays out of this process: the peak memory of a child counts what its parent holds when it starts.

ROOT = pathlib.Path(__file__).resolve().parent.parent
NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
EVALUATORS = ("pycocotools", "faster-coco-eval", "hotcoco", "deepmim", "hotcoco-1", "deepmim-1")
SLOW = ("pycocotools",)
WORKLOADS = {
    "boxes": ("bbox", [("boxes", 5_000, 36_000)]),
    "many": ("bbox", [("boxes", 5_000, 500_000)]),
    "masks": ("segm", [("masks", 1_000, 20_000)]),
    "scaling": ("bbox", [("boxes", 5_000, 36_000), ("boxes", 20_000, 144_000), ("boxes", 100_000, 720_000)]),
}


def command(evaluator, files, kind, options):
    """The command line and the environment of one run."""
    ground_truth, detections = map(str, files)
    threads = 1 if evaluator.endswith("-1") else options.threads
    environment = dict(os.environ, RAYON_NUM_THREADS=str(threads))
    tool = evaluator.removesuffix("-1")
    if tool == "deepmim":
        line = [options.deepmim, "score", "coco", "--gt", ground_truth, "--pred", detections, "--type", kind]
        return line + ["--threads", str(threads), "--json"], environment
    if tool == "hotcoco":
        return [options.hotcoco, ground_truth, detections, kind], environment
    return [sys.executable, __file__, "--child", tool, ground_truth, detections, kind], environment


def numbers(evaluator, output, kind):
    """The twelve numbers out of what an evaluator printed."""
    if evaluator.startswith("deepmim"):
        twelve = json.loads(output)[kind]
        return [twelve[name] for name in NAMES]
    return json.loads(output.strip().splitlines()[-1])


def reference(tool, ground_truth, detections, kind):
    """Runs in a process of its own: one of the Python evaluators, as its documentation shows."""
    if tool == "pycocotools":
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    else:
        from faster_coco_eval import COCO
        from faster_coco_eval import COCOeval_faster as COCOeval
    truth = COCO(ground_truth)
    evaluation = COCOeval(truth, truth.loadRes(detections), kind)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    print(json.dumps([float(value) for value in list(evaluation.stats)[:12]]))


def run(evaluator, files, kind, options):
    """One process: wall seconds, CPU seconds, peak MiB, the twelve numbers."""
    line, environment = command(evaluator, files, kind, options)
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        start = time.perf_counter()
        process = subprocess.Popen(line, stdout=output, stderr=errors, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode != 0:
            sys.exit(f"{evaluator} failed ({process.returncode}): {' '.join(line)}\n{errors.read()[-2000:]}")
        result = numbers(evaluator, output.read(), kind)
    peak = usage.ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)
    return wall, usage.ru_utime + usage.ru_stime, peak, result


def measure(evaluators, files, kind, options):
    """All rounds of one pair of files: for each evaluator the medians, and the largest disagreement."""
    for file in files:  # into the page cache
        with open(file, "rb") as opened:
            while opened.read(1 << 20):
                pass
    runs = {evaluator: [] for evaluator in evaluators}
    for number in range(options.rounds):
        # Every other round runs the other way round, so that nobody always follows the same one.
        for evaluator in evaluators if number % 2 == 0 else reversed(evaluators):
            runs[evaluator].append(run(evaluator, files, kind, options))
            print(f"  round {number + 1}: {evaluator:17} {runs[evaluator][-1][0]:8.3f} s", file=sys.stderr)
    twelve = {evaluator: results[-1][3] for evaluator, results in runs.items()}
    first = next(iter(twelve.values()))
    apart = max((abs(a - b) for other in twelve.values() for a, b in zip(first, other)), default=0.0)
    rows = {}
    for evaluator, results in runs.items():
        walls = [result[0] for result in results]
        rows[evaluator] = (
            statistics.median(walls), min(walls), max(walls),
            statistics.median(result[1] for result in results), statistics.median(result[2] for result in results),
        )
    return rows, first, apart


def against_hotcoco(evaluator, rows):
    """hotcoco's wall and CPU seconds over an evaluator's, on as many threads."""
    base = rows.get("hotcoco-1" if evaluator.endswith("-1") else "hotcoco")
    return " | ".join(f"{base[i] / rows[evaluator][i]:.2f}×" if base else "" for i in (0, 3))


def describe(files):
    """Sizes of a pair of files, counted in the text so that no parser is involved."""
    def count(path, pattern):
        with open(path, "rb") as opened:
            return sum(1 for _ in re.finditer(pattern, opened.read()))

    images, truths = count(files[0], b'"file_name"'), count(files[0], b'"iscrowd"')
    megabytes = [f"{pathlib.Path(file).stat().st_size / 1e6:.1f} MB" for file in files]
    detections = count(files[1], b'"score"')
    return images, detections, (
        f"{images:,} pictures, {truths:,} ground truths ({megabytes[0]}), {detections:,} detections ({megabytes[1]})"
    )


def ask(script, *words):
    """What a Python script prints, in a process of its own."""
    return subprocess.run([sys.executable, script, *words], check=True, stdout=subprocess.PIPE, text=True).stdout


def processor():
    try:
        found = re.search(r"model name\s*:\s*(.+)", pathlib.Path("/proc/cpuinfo").read_text())
        return found[1] if found else platform.processor()
    except OSError:
        return platform.processor() or platform.machine()


def versions(evaluators, options):
    lines = [f"Python {platform.python_version()}"]
    tools = {evaluator.removesuffix("-1") for evaluator in evaluators}
    for package in ("numpy", "pycocotools", "faster-coco-eval"):
        if package in tools or package == "numpy":
            lines.append(f"{package} {importlib.metadata.version(package)}")
    if "hotcoco" in tools:
        lock = (ROOT / "Cargo.lock").read_text()
        lines.append("hotcoco " + re.search(r'name = "hotcoco"\nversion = "([^"]+)"', lock)[1])
    if "deepmim" in tools:
        lines.append(subprocess.run([options.deepmim, "--version"], check=True, capture_output=True, text=True).stdout.strip())
    return ", ".join(lines)


def arguments():
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=EVALUATORS, metavar="NAME", help=f"of {', '.join(EVALUATORS)}")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), metavar="NAME")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2, help="of deepmim and hotcoco (default 2)")
    parser.add_argument("--skip-slow", action="store_true", help="without pycocotools and the 100,000 pictures")
    parser.add_argument("--deepmim", default=str(target / "deepmim"), metavar="PATH")
    parser.add_argument("--hotcoco", default=str(target / "examples" / "hotcoco_score"), metavar="PATH")
    parser.add_argument("--work", default=str(pathlib.Path(tempfile.gettempdir()) / "coco-bench"), metavar="DIR")
    return parser.parse_args()


def main():
    options = arguments()
    evaluators = [
        name for name in EVALUATORS
        if (options.only is None or name in options.only) and not (options.skip_slow and name in SLOW)
    ]
    print(f"{processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start, {options.threads} threads, "
          f"{options.rounds} rounds")
    print(versions(evaluators, options))
    worst = 0.0
    for workload in options.workloads:
        kind, sets = WORKLOADS[workload]
        chosen = evaluators
        if workload == "scaling":
            chosen = [name for name in evaluators if name.startswith(("deepmim", "hotcoco"))]
            sets = sets[:2] if options.skip_slow else sets
            print("\n### scaling\n\n| pictures | detections | evaluator | wall s | CPU s | peak MiB | µs a picture |\n|--:|--:|---|--:|--:|--:|--:|")
        for make in sets:
            # In a process of its own, for the sake of the peak memory (see above).
            files = ask(ROOT / "benches" / "coco_sets.py", options.work, *map(str, make)).splitlines()
            images, detections, sizes = json.loads(ask(__file__, "--describe", *files))
            rows, first, apart = measure(chosen, files, kind, options)
            worst = max(worst, apart)
            if workload == "scaling":
                for name, (median, _, _, cpu, peak) in rows.items():
                    print(f"| {images:,} | {detections:,} | {name} | {median:.3f} | {cpu:.3f} | {peak:.0f} | {median / images * 1e6:.1f} |")
                continue
            print(f"\n### {workload}\n\n{sizes}; AP {first[0]:.4f}, AR100 {first[8]:.4f}; largest disagreement {apart:.1e}\n")
            print("| evaluator | wall s | lowest–highest | CPU s | peak MiB | hotcoco ÷ it: wall | CPU |\n|---|--:|--:|--:|--:|--:|--:|")
            for name, (median, low, high, cpu, peak) in rows.items():
                print(f"| {name} | {median:.3f} | {low:.3f}–{high:.3f} | {cpu:.3f} | {peak:.0f} | {against_hotcoco(name, rows)} |", flush=True)
    if worst > 1e-9:
        sys.exit(f"the evaluators disagree by {worst:.3e}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        reference(*sys.argv[2:])
    elif sys.argv[1:2] == ["--describe"]:
        print(json.dumps(describe(sys.argv[2:])))
    else:
        main()

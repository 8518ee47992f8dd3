#!/usr/bin/env python3
"""Draws small COCO data sets full of corner cases and compares `deepmim score coco` with pycocotools on each.

    python -m venv env && env/bin/pip install -r benches/requirements-coco.txt
    cargo build --release -p deepmim-cli --bin deepmim
    env/bin/python parity/coco_differential.py --program target/release/deepmim --cases 5000

Compared are the twelve numbers and, where `read_arrays` finds them, the whole precision, recall and scores
arrays. A difference above 1e-9, a refusal of what pycocotools accepts, and a crash are failures: the exit code
is 1, and the case is saved below --save as gt.json, detections.json and case.json. `--replay FOLDER` runs
saved cases again. Where pycocotools raises, what the program does is counted and shown; if it scores what
pycocotools would score in other words (a missing iscrowd, no detections, masks that are no compressed RLE),
the numbers are compared with those. faster-coco-eval runs along as a second opinion: its deviations from
pycocotools are counted, and fail nothing.

A custom maxDets without 100 makes pycocotools' headline AP -1; the mean precision at the largest maxDets is
accepted as well.

`--like hotcoco` runs the example `hotcoco_score` in the program's place. `--sensitivity` runs no program, but
tells how many cases would expose an evaluator that gets one thing wrong, such as ties or crowds.

A case depends on --seed and its number alone. It takes about 30 ms, most of it pycocotools; start-up does not count,
since a worker process draws, scores and compares cases in one go and the program starts within milliseconds.
"""
import argparse
import collections
import concurrent.futures
import contextlib
import copy
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from coco_alterations import SENSITIVITIES, repaired  # noqa: E402
from coco_cases import draw  # noqa: E402

NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
TOLERANCE = 1e-9


def reference(tool, case):
    """The twelve numbers and the arrays of a Python evaluator, or the name of what it raised."""
    if tool == "pycocotools":
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    else:
        from faster_coco_eval import COCO
        from faster_coco_eval import COCOeval_faster as COCOeval
    try:
        with contextlib.redirect_stdout(io.StringIO()), np.errstate(all="ignore"):
            truth = COCO()
            truth.dataset = copy.deepcopy(case["gt"])
            truth.createIndex()
            evaluation = COCOeval(truth, truth.loadRes(copy.deepcopy(case["detections"])), case["type"])
            evaluation.params.maxDets = list(case["max_dets"])
            evaluation.params.useCats = 0 if case["class_agnostic"] else 1
            evaluation.evaluate()
            evaluation.accumulate()
            arrays = {name: np.array(evaluation.eval[name]) for name in ("precision", "recall", "scores")}
            evaluation.summarize()
    except Exception as error:  # whatever it raises is the result
        return {"error": f"{type(error).__name__}: {error}".splitlines()[0][:120]}
    return {"numbers": [float(value) for value in list(evaluation.stats)[:12]], "arrays": arrays}


def invoke(options, folder, case):
    """Runs the program on the files in `folder`; everything about its command line is here."""
    files = [str(folder / "gt.json"), str(folder / "detections.json")]
    max_dets = ",".join(map(str, case["max_dets"]))
    if options.like == "hotcoco":
        line = [options.program, *files, case["type"], "--max-dets", max_dets, "--arrays", str(folder / "arrays.json")]
        line += ["--class-agnostic"] * case["class_agnostic"]
    else:
        line = [options.program, "score", "coco", "--gt", files[0], "--pred", files[1], "--type", case["type"], "--json"]
        if case["max_dets"] != [1, 10, 100]:
            line += ["--max-dets", max_dets]
        # The number of threads may not change anything, so it may as well vary.
        threads = 1 + len(case["detections"]) % 2
        line += ["--class-agnostic"] * case["class_agnostic"] + ["--threads", str(threads)]
        if options.arrays:
            line += ["--out", str(folder / "out"), "--arrays"]
    environment = dict(os.environ, RAYON_NUM_THREADS="1")
    done = subprocess.run(line, capture_output=True, text=True, env=environment, timeout=60)
    if done.returncode != 0:
        crashed = done.returncode < 0 or done.returncode == 101 or "panicked" in done.stderr
        lines = [line for line in done.stderr.strip().splitlines() if line] or ["no message"]
        return {"error": lines[-1][:300], "crashed": crashed}
    if options.like == "hotcoco":
        numbers = json.loads(done.stdout.strip().splitlines()[-1])
        return {"numbers": numbers, "arrays": read_arrays(folder)}
    numbers = json.loads(done.stdout)[case["type"]]
    # Average recalls are called after the limits that were set.
    limits = dict(zip(("AR1", "AR10", "AR100"), (f"AR{limit}" for limit in sorted(case["max_dets"]))))
    numbers = [numbers[limits.get(name, name)] for name in NAMES]
    return {"numbers": numbers, "arrays": read_arrays(folder / "out") if options.arrays else None}


def read_arrays(folder):
    """The program's arrays, or None where it writes none; the one place that knows how they are stored.

    deepmim writes `precision`, `scores` (T, R, K, A, M) and `recall` (T, K, A, M) as .npy; hotcoco_score
    arrays.json with `shape` [T, R, K, A, M] and the arrays flat.
    """
    files = [folder / f"{name}.npy" for name in ("precision", "recall", "scores")]
    text = folder / "arrays.json"
    if files[0].exists():
        return {file.stem: np.load(file) for file in files}
    if text.exists():
        content = json.loads(text.read_text())
        t, r, k, a, m = content["shape"]
        return {
            "precision": np.array(content["precision"], float).reshape(t, r, k, a, m),
            "recall": np.array(content["recall"], float).reshape(t, k, a, m),
        }
    return None


def difference(case, expected, found):
    """The largest difference of the twelve numbers and the arrays, and how many values were compared."""
    pairs = []
    for i, (a, b) in enumerate(zip(expected["numbers"], found["numbers"], strict=True)):
        if i == 0 and 100 not in case["max_dets"] and b != a:
            valid = expected["arrays"]["precision"][..., 0, -1]
            valid = valid[valid > -1]
            a = valid.mean() if valid.size else -1.0
        pairs.append((np.array(a), np.array(np.nan if b is None else b)))
    if found.get("arrays"):
        pairs += [(expected["arrays"][name], array) for name, array in found["arrays"].items()]
    worst, count = 0.0, 0
    for a, b in pairs:
        if a.shape != b.shape:
            return np.inf, count
        apart = np.abs(a - b)
        worst = max(worst, np.inf if np.isnan(apart).any() else float(apart.max(initial=0.0)))
        count += a.size
    return worst, count


def write_case(folder, case):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gt.json").write_text(json.dumps(case["gt"], indent=case.get("indent")))
    (folder / "detections.json").write_text(json.dumps(case["detections"], indent=case.get("indent")))


def save(options, name, case, outcomes):
    folder = pathlib.Path(options.save) / name
    write_case(folder, case)
    about = {key: case[key] for key in ("type", "max_dets", "class_agnostic", "features")}
    for tool, outcome in outcomes.items():
        about[tool] = {key: value for key, value in outcome.items() if key != "arrays"}
    (folder / "case.json").write_text(json.dumps(about, indent=1) + "\n")


def compare(options, cases):
    """One worker's share: what happened, as plain data."""
    tally = {"cases": 0, "scored": 0, "values": 0, "worst": 0.0, "telling": 0, "second": collections.Counter(),
             "second_worst": 0.0, "features": collections.Counter(), "raised": collections.Counter(), "allowed": collections.Counter(), "failures": []}
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="coco-differential-"))
    try:
        for name, case in cases:
            expected, second = reference("pycocotools", case), reference("faster-coco-eval", case)
            shutil.rmtree(scratch / "out", ignore_errors=True)
            write_case(scratch, case)
            found = invoke(options, scratch, case)
            tally["cases"] += 1
            tally["features"].update(case["features"])
            failure = None
            if found.get("crashed"):
                failure = "crash: " + found["error"]
            elif "error" in expected:
                spoiled = next((name for name in case["features"] if name.startswith("spoiled")), "not spoiled")
                outcome = "refuses: " + plain(found["error"]) if "error" in found else "scores it"
                if "error" not in found:
                    meant = reference("pycocotools", repaired(case))
                    if "error" not in meant:
                        worst, values = difference(case, meant, found)
                        tally["values"] += values
                        outcome += ", as pycocotools does when it is put in its words"
                        if worst > TOLERANCE:
                            failure = f"differs from what is meant by {worst:.3g}"
                tally["raised"][spoiled, plain(expected["error"]), outcome] += 1
            elif "error" in found and any(re.search(pattern, found["error"]) for pattern in options.allow):
                tally["allowed"][plain(found["error"])] += 1
            elif "error" in found:
                failure = "refused: " + plain(found["error"])
            else:
                worst, values = difference(case, expected, found)
                tally["scored"] += 1
                tally["values"] += values
                tally["worst"] = max(tally["worst"], worst)
                tally["telling"] += any(0 < value < 1 for value in expected["numbers"])
                if worst > TOLERANCE:
                    failure = f"differs by {worst:.3g}"
            if "error" not in expected:
                if "error" in second:
                    tally["second"]["raises " + plain(second["error"])] += 1
                else:
                    apart, _ = difference(case, expected, second)
                    tally["second_worst"] = max(tally["second_worst"], apart)
                    tally["second"]["differs" if apart > TOLERANCE else "agrees"] += 1
            if failure:
                tally["failures"].append((name, failure, case["features"]))
                save(options, name, case, {"pycocotools": expected, "faster-coco-eval": second, "program": found})
    finally:
        shutil.rmtree(scratch)
    return tally


def plain(message):
    """A message without its numbers and paths, to group by."""
    return re.sub(r"\d+", "#", re.sub(r"\S*/\S+", "FILE", message))[:160]


def sensitivity(cases):
    """How many cases change their twelve numbers when the input is altered as a mistaken evaluator would read it."""
    changed = collections.Counter()
    for _, case in cases:
        expected = reference("pycocotools", case)
        if "error" in expected or any(name.startswith("spoiled") for name in case["features"]):
            continue
        changed["cases"] += 1
        for mistake, alter in SENSITIVITIES.items():
            other = copy.deepcopy(case)
            alter(other)
            result = reference("pycocotools", other)
            changed[mistake] += "error" in result or not np.allclose(expected["numbers"], result["numbers"], 0, TOLERANCE)
    return changed


def load(folder):
    about = json.loads((folder / "case.json").read_text())
    about["gt"] = json.loads((folder / "gt.json").read_text())
    about["detections"] = json.loads((folder / "detections.json").read_text())
    return about


def work(options, first, until):
    """Called in a worker process."""
    if options.replay:
        folders = sorted(path.parent for path in pathlib.Path(options.replay).rglob("case.json"))
        cases = ((folder.name, load(folder)) for folder in folders[first:until])
    else:
        cases = ((f"seed{options.seed}-{number:06}", draw(options.seed, number)) for number in range(first, until))
    return sensitivity(cases) if options.sensitivity else compare(options, cases)


def report(tallies):
    def total(key):
        return sum((tally[key] for tally in tallies), type(tallies[0][key])())

    print(f"{total('cases')} cases, {total('scored')} scored by both ({total('telling')} with a number strictly between 0 and 1), "
          f"{total('values')} values compared, largest difference {max(tally['worst'] for tally in tallies):.3g}")
    print("\nfaster-coco-eval against pycocotools, largest difference", f"{max(tally['second_worst'] for tally in tallies):.3g}")
    for what, count in total("second").most_common():
        print(f"  {count:6}  {what}")
    print("\ncases with:", ", ".join(f"{name} {count}" for name, count in sorted(total("features").items())))
    print("\nwhere pycocotools raises, and what the program does:")
    for (spoiled, raised, outcome), count in sorted(total("raised").items()):
        print(f"  {count:6}  {spoiled.removeprefix('spoiled: ')}: {raised}\n          -> {outcome}")
    if total("allowed"):
        print("\nrefused, as --allow says, where pycocotools scores:")
        for message, count in total("allowed").most_common():
            print(f"  {count:6}  {message}")
    failures = total("failures")
    groups = collections.defaultdict(list)
    for name, failure, features in failures:
        groups[re.sub(r" by .*", "", failure)].append((name, failure, features))
    print(f"\n{len(failures)} failures")
    for group, members in sorted(groups.items(), key=lambda item: -len(item[1])):
        print(f"  {len(members):6}  {group}")
        for name, failure, features in members[:5]:
            print(f"          {name} ({failure}): {', '.join(features)}")
    return 1 if failures else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="target/release/deepmim", metavar="PATH")
    parser.add_argument("--like", choices=("deepmim", "hotcoco"), default="deepmim", help="whose command line PROGRAM has")
    parser.add_argument("--no-arrays", dest="arrays", action="store_false", help="compare the twelve numbers alone")
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--save", default="coco-differences", metavar="DIR")
    parser.add_argument("--replay", metavar="FOLDER", help="run the saved cases below FOLDER")
    parser.add_argument("--allow", nargs="+", default=[], metavar="REGEX", help="messages of refusals that are no failures")
    parser.add_argument("--sensitivity", action="store_true")
    options = parser.parse_args()
    if options.replay:
        options.first, options.cases = 0, sum(1 for _ in pathlib.Path(options.replay).rglob("case.json"))
    starts = range(options.first, options.first + options.cases, 50)
    end = options.first + options.cases
    with concurrent.futures.ProcessPoolExecutor(options.jobs) as pool:
        tallies = list(pool.map(work, *zip(*((options, start, min(start + 50, end)) for start in starts))))
    if not tallies:
        sys.exit("no cases")
    if options.sensitivity:
        changed = sum(tallies, collections.Counter())
        print(f"{changed.pop('cases')} cases; would expose:")
        for mistake in SENSITIVITIES:
            print(f"  {changed[mistake]:6}  {mistake}")
        return 0
    return report(tallies)


if __name__ == "__main__":
    sys.exit(main())

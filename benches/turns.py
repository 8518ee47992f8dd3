"""What the benchmarks of whole models share: processes of two sides that take turns, their times, peak
memory and the part of the processor's limit that they reach.

A process prints one line of JSON last: {"seconds": [...], "peak_mib": ..., "stages": {name: seconds}}, and
"multiplications" where it was asked to count them.
"""

import contextlib
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

import torch

ROOT = pathlib.Path(__file__).resolve().parent.parent


DEVICE = os.environ.get("DEEPMIM_BENCH_DEVICE", "cpu")
PRECISION = os.environ.get("DEEPMIM_BENCH_PRECISION", "f32")


def device_options(parser):
    """Where and in which format both sides compute; their processes are told by the environment."""
    parser.add_argument("--device", choices=("cpu", "cuda"), default=DEVICE)
    parser.add_argument("--precision", choices=("f32", "bf16"), default=PRECISION, help="of the training step")


def tell(options):
    global DEVICE, PRECISION
    DEVICE, PRECISION = options.device, options.precision
    os.environ.update(DEEPMIM_BENCH_DEVICE=DEVICE, DEEPMIM_BENCH_PRECISION=PRECISION)


@contextlib.contextmanager
def in_float32():
    """What both sides find is compared in float32, whatever is measured."""
    os.environ["DEEPMIM_BENCH_PRECISION"] = "f32"
    yield
    os.environ["DEEPMIM_BENCH_PRECISION"] = PRECISION


def autocast():
    return torch.autocast(DEVICE, torch.bfloat16, enabled=PRECISION == "bf16")


def finish():
    """Waits for what the device still computes."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


class Stages:
    """Seconds spent inside some of a model's functions."""

    def __init__(self):
        self.rounds = []

    def start(self):
        self.rounds.append({})

    def watch(self, owner, attribute, name):
        own = getattr(owner, attribute)

        def call(*arguments, **named):
            start = time.perf_counter()
            result = own(*arguments, **named)
            self.add(name, time.perf_counter() - start)
            return result

        setattr(owner, attribute, call)

    def add(self, name, seconds):
        self.rounds[-1][name] = self.rounds[-1].get(name, 0.0) + seconds

    def medians(self):
        rounds = self.rounds[1:] or self.rounds
        return {name: round(statistics.median(r[name] for r in rounds), 4) for name in rounds[-1]}


def timed_rounds(one_round, rounds, stages, count, record):
    """A process of PyTorch's side: some rounds, the first of them recorded, and the line it ends with."""
    seconds = []
    for number in range(rounds):
        stages.start()
        start = time.perf_counter()
        result = one_round()
        finish()
        seconds.append(time.perf_counter() - start)
        if number == 0 and record:
            record(result)
    answer = dict(seconds=seconds, peak_mib=peak_mib(), stages=stages.medians())
    if count:
        answer["multiplications"] = count_flops(one_round, stages)
    print(json.dumps(answer))


def count_flops(one_round, stages):
    """Two per multiplication and addition, as PyTorch counts products, convolutions and attention."""
    from torch.utils.flop_counter import FlopCounterMode

    stages.start()
    with FlopCounterMode(display=False) as counter:
        one_round()
    return counter.get_total_flops()


def peak_mib():
    """Largest resident size of this process, or most memory that tensors took on a GPU."""
    if DEVICE == "cuda":
        return round(torch.cuda.max_memory_allocated() / 2**20, 1)
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) / 1024, 1)
    return float("nan")


def build(package, example):
    command = ["cargo", "build", "--release", "--locked", "-p", package, "--example", example, "--message-format=json"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit("the Rust side did not build; source scripts/setup.sh first, it sets the build environment")
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == example:
            return message["executable"]
    sys.exit("cargo named no executable")


def options(parser, modes, sides):
    """What both scripts can be told."""
    parser.add_argument("--mode", action="append", choices=modes, help="default: all of them; may be given again")
    parser.add_argument("--side", choices=sides, help="measure one side alone")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    device_options(parser)
    parser.add_argument("--rounds", type=int, default=3, help="measured rounds of a process")
    parser.add_argument("--turns", type=int, default=3, help="processes of each side")
    parser.add_argument("--program", help="a built example instead of building one")
    parser.add_argument("--own-libtorch", action="store_true", help="let the Rust side use the libtorch it was built with")


def turn(side, mode, command, threads, own_libtorch):
    """One process of a side; what it measured. `own_libtorch` leaves the Rust side the libtorch it was
    built with instead of PyTorch's own."""
    env = dict(os.environ, OMP_NUM_THREADS=str(threads))
    if side == "deepmim" and not own_libtorch:
        library = pathlib.Path(torch.__file__).parent / "lib"
        env["LD_LIBRARY_PATH"] = f"{library}:{env.get('LD_LIBRARY_PATH', '')}"
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, text=True, env=env)
    if done.returncode:
        sys.exit(f"{side} failed in {mode}: its message is above")
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    shown = " ".join(f"{s:.2f}" for s in answer["seconds"])
    print(f"{mode} {side}: {shown} s, peak {answer['peak_mib']:.0f} MiB", file=sys.stderr)
    return answer


def gemm_rate(threads):
    """Multiplications and additions a second of one large product."""
    torch.set_num_threads(threads)
    dtype = torch.bfloat16 if PRECISION == "bf16" else torch.float32
    a, b = (torch.randn(3072, 3072, device=DEVICE, dtype=dtype) for _ in range(2))
    a @ b
    best = float("inf")
    for _ in range(5):
        finish()
        start = time.perf_counter()
        a @ b
        finish()
        best = min(best, time.perf_counter() - start)
    return 2 * 3072**3 / best


def machine(threads):
    model = platform.processor()
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    if DEVICE == "cuda":
        model = torch.cuda.get_device_name()
    return f"{model}, {threads} threads, torch {torch.__version__}, {PRECISION}"


def measure(mode, sides, turns, threads, one_turn):
    """Prints medians of all rounds but the first of each process, and the largest peak memory of a side's
    processes. `one_turn(side, count)` runs a process; `sides` are ours first and theirs, or one of them."""
    rates, seconds, peaks, stages = [], {s: [] for s in sides}, {s: [] for s in sides}, {s: {} for s in sides}
    flops = None
    for number in range(turns):
        rates.append(gemm_rate(threads))
        for side in sides if number % 2 == 0 else sides[::-1]:
            answer = one_turn(side, side != "deepmim" and flops is None and number == turns - 1)
            seconds[side] += answer["seconds"][1:]
            peaks[side].append(answer["peak_mib"])
            stages[side] = answer["stages"]
            flops = answer.get("multiplications", flops)
            rates.append(gemm_rate(threads))
    rate = max(rates)
    print(f"\n{mode}: one large product {rate / 1e9:.0f} GFLOP/s", end="")
    print(f", {flops / 1e12:.2f} TFLOP, limit {flops / rate:.2f} s" if flops else "")
    for side in sides:
        median = statistics.median(seconds[side])
        limit = f", {flops / rate / median:.0%} of the limit" if flops else ""
        low, high = min(seconds[side]), max(seconds[side])
        print(f"  {side:<14} {median:7.2f} s ({low:.2f} to {high:.2f}), peak {max(peaks[side]):.0f} MiB{limit}")
        print(f"  {'':<14} {json.dumps(stages[side])}")
    if len(sides) == 2:
        ours, theirs = (statistics.median(seconds[s]) for s in sides)
        memory = max(peaks[sides[0]]) / max(peaks[sides[1]])
        print(f"  {sides[0]} / {sides[1]}: time {ours / theirs:.2f}, memory {memory:.2f}")

"""Seconds of a training step against the number of processes and their network, measured and by a model of cost.

    cargo build --release
    python benches/scaling.py measure --bin $CARGO_TARGET_DIR/release/deepmim        (as root, Linux)
    python benches/scaling.py predict

`measure` trains MAE ViT-B (configs/imagenet_pretrain_mae_b.toml, drawn pictures) for a few steps by 1, 2 and 4
processes on this machine, whose loopback has a rate in a network namespace, and prints each median step beside
the model's. `predict` prints the model for clusters up to 64 GPUs. Nothing but the standard library is needed.

The model. A step is a forward pass f, then a backward pass b during which buckets of gradients become ready at
even distances; a bucket of s bytes takes 2 (n - 1) / n * s / B over links of B bytes a second (every ring
all-reduce), one after the other; the step ends when the last bucket is summed:

    t(n) = f + end,  end_i = max(end_(i-1), ready_i) + 2 (n - 1) / n * s_i / B + 2 (n - 1) * latency

On a CPU the sums and the copies into sockets also take the cores that the backward pass wants; their time is
measured once (all-reduce without a rate) and added. GPUs have engines of their own for it.
"""

import argparse
import csv
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
FIRST_BUCKET = 1 << 20
BUCKET = 25 << 20
BACKWARD = 2 / 3  # of a pass: two of its three products are the backward pass's
PARAMETERS = {"MAE ViT-B": 111_655_680, "MAE ViT-L": 329_239_296}  # trained ones


def buckets(size):
    sizes = [min(FIRST_BUCKET, size)]
    while sum(sizes) < size:
        sizes.append(min(BUCKET, size - sum(sizes)))
    return sizes


def step(compute, size, processes, bandwidth, latency=0.0, on_cores=0.0, passes=1):
    """Seconds of a step whose forward and backward passes take `compute` each time; the last of `passes` sums."""
    last = compute / passes
    backward = BACKWARD * last
    sizes = buckets(size)
    end = ready = 0.0
    for of_bucket in sizes:
        ready += backward * of_bucket / size
        moved = 2 * (processes - 1) / processes * of_bucket / bandwidth
        end = max(end, ready) + moved + 2 * (processes - 1) * latency
    return compute - backward + (max(end, backward) if processes > 1 else backward) + on_cores


def run(command, **kwargs):
    done = subprocess.run(command, capture_output=True, text=True, **kwargs)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed: {done.stderr}")
    return done.stdout


def seconds_a_step(binary, folder, processes, batch, steps, inside):
    out = folder / "run"
    command = [
        *inside, binary, *(["launch", "-n", str(processes)] if processes > 1 else []),
        "pretrain", ROOT / "configs/imagenet_pretrain_mae_b.toml", "--out", out, "--overwrite",
    ]
    values = {
        "data.train": '{ source = { kind = "folders", root = "%s" } }' % (folder / "data/train"),
        "data.threads": 1,
        "run.device": '"cpu"',
        "trainer.batch_size": batch,
        "trainer.accumulate": processes,
        "trainer.max_steps": steps,
        "trainer.log_every": 1,
        "trainer.threads": 1,
        "trainer.precision": '"f32"',
    }
    for key, value in values.items():
        command += ["--set", f"{key}={value}"]
    run(command)
    with open(out / "metrics.csv", newline="") as file:
        at = [float(r["value"]) for r in csv.DictReader(file) if r["name"] == "train/seconds"]
    # The first two steps lay out memory and buckets.
    return statistics.median(b - a for a, b in zip(at[1:], at[2:]))


def measure(args):
    namespace = "deepmim-scaling"
    inside = ["ip", "netns", "exec", namespace]
    subprocess.run(["ip", "netns", "del", namespace], capture_output=True)
    run(["ip", "netns", "add", namespace])
    run(["ip", "-n", namespace, "link", "set", "lo", "up"])
    size = 4 * PARAMETERS["MAE ViT-B"]
    cores = os.cpu_count()
    print(f"{platform.machine()}, {cores} cores, one thread a process; {size / 1e6:.0f} MB of gradients, batch {args.batch}")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        run([args.bin, "data", "synth", "classification", "--out", folder / "data", "--classes", "4",
             "--per-class", "40", "--val-per-class", "1", "--size", "224"])
        alone = seconds_a_step(args.bin, folder, 1, args.batch, args.steps, inside)
        print(f"one process: {alone:.2f} s a step")
        print(f"{'processes':>9} {'loopback':>12} {'measured':>9} {'model':>7} {'off':>6}")
        for processes in args.processes:
            # More processes than cores take turns.
            compute = alone * max(1, processes / cores)
            free = None
            for gigabits in [None, *args.gigabits]:
                control = ["ip", "netns", "exec", namespace, "tc", "qdisc"]
                subprocess.run([*control, "del", "dev", "lo", "root"], capture_output=True)
                if gigabits:
                    run([*control, "add", "dev", "lo", "root", "tbf", "rate", f"{gigabits}gbit", "burst", "4mb",
                         "latency", "100ms"])
                measured = seconds_a_step(args.bin, folder, processes, args.batch, args.steps, inside)
                if gigabits is None:
                    free = measured - compute
                    print(f"{processes:9} {'free':>12} {measured:7.2f} s {'':7}   sums on the cores: {free:.2f} s")
                    continue
                # All processes' links are the one loopback.
                bandwidth = gigabits * 1e9 / 8 / processes
                model = step(compute, size, processes, bandwidth, on_cores=free)
                print(f"{processes:9} {gigabits:7} Gbit/s {measured:7.2f} s {model:5.2f} s {100 * (model / measured - 1):+5.0f} %")
    subprocess.run(["ip", "netns", "del", namespace], capture_output=True)


def predict(_):
    # Up to 8 GPUs are in one machine; the ring over several crosses each machine's link once in each direction.
    within, within_latency = 300e9, 5e-6
    networks = [("400 Gbit/s for each GPU", 50e9, 1e-5), ("100 Gbit/s for each GPU", 12.5e9, 2e-5),
                ("25 Gbit/s for each machine", 3.125e9, 3e-5)]
    counts = (2, 8, 16, 32, 64)
    print("Part of the time that is computing; `pass` is a forward and a backward pass on one GPU, `passes` how many of")
    print("them a process makes in a step. Up to 8 GPUs over 300 GB/s, further ones over the network.")
    for model, size in (("MAE ViT-B", 4 * PARAMETERS["MAE ViT-B"]), ("MAE ViT-L", 4 * PARAMETERS["MAE ViT-L"])):
        moved = 2 * 63 / 64 * size / 1e6
        print(f"\n{model}: {size / 1e6:.0f} MB of gradients; each GPU sends {moved:.0f} MB a step at 64 GPUs")
        print(f"{'network':28}{'pass':>8}{'passes':>8}" + "".join(f"{n:>8}" for n in counts) + "   s a step at 64")
        for name, bandwidth, latency in networks:
            for seconds, passes in ((0.1, 1), (0.5, 1), (0.1, 8)):
                compute = seconds * passes
                times = [
                    step(compute, size, n, *((within, within_latency) if n <= 8 else (bandwidth, latency)), passes=passes)
                    for n in counts
                ]
                parts = "".join(f"{compute / t:8.2f}" for t in times)
                print(f"{name:28}{seconds:6.1f} s{passes:8}{parts}{times[-1]:10.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    measuring = commands.add_parser("measure")
    measuring.add_argument("--bin", type=pathlib.Path, required=True)
    measuring.add_argument("--batch", type=int, default=8, help="pictures of a forward pass")
    measuring.add_argument("--steps", type=int, default=7)
    measuring.add_argument("--processes", type=int, nargs="+", default=[2, 4])
    measuring.add_argument("--gigabits", type=int, nargs="+", default=[8, 4, 2])
    measuring.set_defaults(run=measure)
    commands.add_parser("predict").set_defaults(run=predict)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()

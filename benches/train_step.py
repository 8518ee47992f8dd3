"""One training step, deepmim against PyTorch eager, side by side.

    pip install -r benches/requirements.txt
    python benches/train_step.py pretrain            # ViT-B/16 MAE, normalised pixels
    python benches/train_step.py finetune            # ViT-B/16 classifier, soft targets, layer decay

A step is: clear gradients, forward, loss, backward, AdamW, on a batch that is already a tensor in
memory; float32 on the CPU, or with `--device cuda --precision bf16` on a GPU, whose peak memory is told, too. Both sides hold their model in their own process and take turns, one
step each, so a slow minute of the machine meets both; medians are compared. Both use the same
libtorch: the Rust program is started with the library folder of this Python's torch in front.

On a machine that is busy with other work, `--clock cpu --threads 1` compares processor time instead.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

import torch

sys.dont_write_bytecode = True  # a benchmark leaves nothing in the clone
import torch_models
import turns

ROOT = pathlib.Path(__file__).resolve().parent.parent
SIZES = {"tiny": (192, 12, 3), "small": (384, 12, 6), "base": (768, 12, 12), "large": (1024, 24, 16)}
PACKAGES = {"pretrain": "deepmim-pretraining", "finetune": "deepmim-classification"}
CLASSES, DROP_PATH = 1000, 0.1
PHASES = ("clear", "forward", "backward", "update")


def build(job):
    command = ["cargo", "build", "--release", "-p", PACKAGES[job], "--example", f"{job}_step", "--message-format=json"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit("the Rust side did not build; source scripts/setup.sh first, it sets the build environment")
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == f"{job}_step":
            return message["executable"]
    sys.exit("cargo named no executable")


class Ours:
    """The Rust program: one line in, one step made, its seconds out."""

    def __init__(self, program, options):
        env = dict(os.environ, OMP_NUM_THREADS=str(options.threads))
        if not options.own_libtorch:
            library = pathlib.Path(torch.__file__).parent / "lib"
            env["LD_LIBRARY_PATH"] = f"{library}:{env.get('LD_LIBRARY_PATH', '')}"
        self.cpu_clock = options.clock == "cpu"
        arguments = [options.model, options.size, options.patch, options.batch]
        self.process = subprocess.Popen(
            [program, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        )

    def processor_seconds(self):
        """User and system time so far, in the kernel's ticks (10 ms)."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def step(self):
        before = self.processor_seconds() if self.cpu_clock else 0.0
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit("the Rust program ended early")
        answer = json.loads(line)
        self.peak_mib = answer["peak_mib"]
        seconds = self.processor_seconds() - before if self.cpu_clock else answer["seconds"]
        return seconds, answer["loss"], {phase: answer[phase] for phase in PHASES}

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Theirs:
    """PyTorch eager in this process."""

    def __init__(self, job, options):
        torch.manual_seed(0)
        torch.set_num_threads(options.threads)
        width, depth, heads = SIZES[options.model]
        images = torch.randn(options.batch, 3, options.size, options.size).to(options.device)
        if job == "finetune":
            self.model = torch_models.Classifier(
                options.size, options.patch, width, depth, heads, CLASSES, DROP_PATH
            )
            targets = torch.softmax(torch.randn(options.batch, CLASSES), dim=-1).to(options.device)
            self.loss = lambda: self.model.loss(images, targets)
        else:
            self.model = torch_models.MaskedAutoencoder(options.size, options.patch, width, depth, heads)
            self.loss = lambda: self.model.loss(images)
        self.clock = time.process_time if options.clock == "cpu" else time.perf_counter
        self.model.to(options.device).train()
        self.optimizer = self.model.optimizer()

    def step(self):
        start, marks = self.clock(), [time.perf_counter()]
        self.optimizer.zero_grad()
        marks.append(time.perf_counter())
        with turns.autocast():
            loss = self.loss()
        marks.append(time.perf_counter())
        loss.backward()
        marks.append(time.perf_counter())
        self.optimizer.step()
        turns.finish()
        seconds = self.clock() - start
        self.peak_mib = turns.peak_mib()
        marks.append(time.perf_counter())
        phases = {phase: marks[i + 1] - marks[i] for i, phase in enumerate(PHASES)}
        return seconds, loss.item(), phases


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", choices=PACKAGES)
    parser.add_argument("--model", choices=SIZES, default="base")
    parser.add_argument("--size", type=int, default=224, help="picture side in pixels")
    parser.add_argument("--patch", type=int, default=16)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5, help="measured steps of each side")
    parser.add_argument("--warmup", type=int, default=2, help="steps of each side before measuring")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--program", help="a built example instead of building one")
    parser.add_argument("--own-libtorch", action="store_true", help="let the Rust side use the libtorch it was built with")
    turns.device_options(parser)
    options = parser.parse_args()
    turns.tell(options)

    ours = Ours(options.program or build(options.job), options)
    theirs = Theirs(options.job, options)
    times = {"deepmim": [], "pytorch": []}
    phases = {"deepmim": [], "pytorch": []}
    for turn in range(options.warmup + options.rounds):
        for name, side in (("deepmim", ours), ("pytorch", theirs)):
            seconds, loss, split = side.step()
            print(f"{name} step {turn}: {seconds:.3f} s, loss {loss:.4f}", file=sys.stderr)
            if turn >= options.warmup:
                times[name].append(seconds)
                phases[name].append(split)
    ours.close()
    split = {
        name: {phase: round(statistics.median(step[phase] for step in steps), 4) for phase in PHASES}
        for name, steps in phases.items()
    }
    medians = {name: statistics.median(values) for name, values in times.items()}
    processor = next(
        (line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    ) if os.path.exists("/proc/cpuinfo") else platform.processor()
    print(
        json.dumps(
            {
                "job": options.job,
                "machine": f"{processor}, {os.cpu_count()} CPUs",
                "threads": options.threads,
                "clock": options.clock,
                "torch": torch.__version__,
                "device": torch.cuda.get_device_name() if options.device == "cuda" else "cpu",
                "precision": options.precision,
                "model": f"vit_{options.model} patch {options.patch} at {options.size} px",
                "batch": options.batch,
                "rounds": options.rounds,
                "deepmim_seconds": round(medians["deepmim"], 4),
                "deepmim_range": [round(min(times["deepmim"]), 4), round(max(times["deepmim"]), 4)],
                "pytorch_seconds": round(medians["pytorch"], 4),
                "pytorch_range": [round(min(times["pytorch"]), 4), round(max(times["pytorch"]), 4)],
                "deepmim_wall_by_phase": split["deepmim"],
                "pytorch_wall_by_phase": split["pytorch"],
                "deepmim_peak_mib": ours.peak_mib,
                "pytorch_peak_mib": theirs.peak_mib,
                "ratio": round(medians["deepmim"] / medians["pytorch"], 4),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()

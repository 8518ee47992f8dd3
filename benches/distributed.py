"""All-reduce, and gradients summed during the backward pass, beside torch.distributed on this machine.

    pip install -r benches/requirements.txt
    cargo build --release -p deepmim-native --example distributed_speed
    python benches/distributed.py --ours $CARGO_TARGET_DIR/release/examples/distributed_speed

Both sides do the same, in turns: one all-reduce of float32, then the backward pass of twelve square layers
without and with DistributedDataParallel's Reducer (no_sync and sync). Medians over all rounds and turns. What
of the all-reduce is hidden behind the backward pass is 1 - (with - without) / all-reduce.

On loopback with as many cores as processes the sums take cores from the backward pass, so little can be hidden.
Over a network they wait. To see that, give the loopback of a network namespace a rate (as root):

    ip netns add slow && ip -n slow link set lo up
    ip netns exec slow tc qdisc add dev lo root tbf rate 2gbit burst 4mb latency 100ms
    ip netns exec slow python benches/distributed.py --ours ...
"""

import argparse
import json
import os
import pathlib
import platform
import socket
import statistics
import subprocess
import sys

LAYERS = 12


def worker(megabytes, rows, rounds):
    import time

    import torch
    import torch.distributed as dist

    dist.init_process_group("gloo")
    tensor = torch.ones(megabytes * 1_000_000 // 4)
    all_reduce = []
    for _ in range(rounds + 1):
        dist.barrier()
        started = time.perf_counter()
        dist.all_reduce(tensor)
        all_reduce.append(time.perf_counter() - started)
        tensor.fill_(1)

    side = int((megabytes * 1_000_000 // 4 // LAYERS) ** 0.5)
    model = torch.nn.Sequential(
        *(m for _ in range(LAYERS) for m in (torch.nn.Linear(side, side, bias=False), torch.nn.Tanh()))
    )
    model = torch.nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True)
    data = torch.randn(rows, side)
    alone, summed = [], []
    for _ in range(rounds + 2):
        for times, sync in ((alone, False), (summed, True)):
            model.zero_grad(set_to_none=True)
            model.require_backward_grad_sync = sync
            loss = model(data).square().mean()
            dist.barrier()
            started = time.perf_counter()
            loss.backward()
            times.append(time.perf_counter() - started)
    dist.barrier()
    if dist.get_rank() == 0:
        print(json.dumps({"all_reduce": all_reduce[1:], "backward": alone[2:], "backward_and_sum": summed[2:]}))


def launch(command, processes, threads):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = [
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE if rank == 0 else subprocess.DEVNULL,
            text=True,
            env=os.environ
            | {
                "RANK": str(rank),
                "WORLD_SIZE": str(processes),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "GLOO_SOCKET_IFNAME": "lo",
                "OMP_NUM_THREADS": str(threads),
            },
        )
        for rank in range(processes)
    ]
    answer = json.loads(ranks[0].communicate()[0])
    for rank in ranks:
        if rank.wait() != 0:
            sys.exit(f"{command[0]} failed")
    return answer


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", type=pathlib.Path, help="the example distributed_speed, built for release")
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    numbers = [str(n) for n in (args.megabytes, args.rows, args.rounds)]
    if args.worker:
        worker(args.megabytes, args.rows, args.rounds)
        return
    if args.ours is None:
        parser.error("--ours is needed")

    import torch

    cores = os.cpu_count()
    print(f"{platform.machine()}, {cores} cores, torch {torch.__version__}, {args.megabytes} MB, {args.rows} rows")
    print(f"{'':28}{'all-reduce':>12}{'backward':>12}{'with sums':>12}{'hidden':>9}")
    for processes in args.processes:
        threads = max(1, cores // processes)
        python = [sys.executable, __file__, "--worker", "--megabytes", numbers[0], "--rows", numbers[1], "--rounds", numbers[2]]
        sides = {"torch.distributed": python, "deepmim": [str(args.ours), *numbers]}
        times = {side: {} for side in sides}
        for _ in range(args.turns):
            for side, command in sides.items():
                for what, seconds in launch(command, processes, threads).items():
                    times[side].setdefault(what, []).extend(seconds)
        medians = {side: {k: statistics.median(v) for k, v in of.items()} for side, of in times.items()}
        for side, m in medians.items():
            hidden = 1 - (m["backward_and_sum"] - m["backward"]) / m["all_reduce"]
            label = f"{processes} processes, {side}"
            print(f"{label:28}" + "".join(f"{1e3 * m[k]:9.1f} ms" for k in m) + f"{100 * hidden:7.0f} %")
        ratio = {k: medians["deepmim"][k] / medians["torch.distributed"][k] for k in medians["deepmim"]}
        print(f"{'ratio':28}" + "".join(f"{r:12.2f}" for r in ratio.values()))


if __name__ == "__main__":
    main()

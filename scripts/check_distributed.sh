#!/usr/bin/env bash
# Distributed training under real conditions that a test cannot assume: torchrun's agent, a process killed under
# it, and processes with network addresses of their own whose link is cut. Every run must end with the weights
# of one process alone.
#
#   scripts/check_distributed.sh [TORCHRUN]     TORCHRUN: PyTorch's launcher (default: torchrun)
#
# The part with network addresses needs root (ip netns); without it, it is left out and said so.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/setup.sh
torchrun="$(command -v "${1:-torchrun}")" || { echo "torchrun is not there: pip install torch==2.11.0, then give its path" >&2; exit 1; }
cargo build --workspace --locked --quiet
bin="$CARGO_TARGET_DIR/debug/deepmim"
recipe="$PWD/configs/smoke/pretrain_mae.toml"
export OMP_NUM_THREADS=1

work="$(mktemp -d)"
cleanup() {
    ip netns del deepmim0 2>/dev/null || true
    ip netns del deepmim1 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT
cd "$work"
"$bin" data synth classification --out data --classes 4 --per-class 100 --val-per-class 2 >/dev/null
train() { printf '%s\n' pretrain "$recipe" --data data --out "$1" --set trainer.accumulate=2 --set trainer.batch_size=4; }
mapfile -t arguments < <(train alone)
"$bin" "${arguments[@]}" >/dev/null
weights() { sed -n 's/.*"weights_sha256": "\(.*\)".*/\1/p' "$1/summary.json"; }
same() {
    [ "$(weights alone)" = "$(weights "$1")" ] || { echo "FAILED: $2: other weights than one process alone" >&2; exit 1; }
    echo "ok: $2: the weights of one process alone, bit for bit"
}
# Waits until run $1 has logged $2 values.
has_logged() { until [ "$(cat "$1/metrics.csv" 2>/dev/null | wc -l)" -gt "$2" ]; do sleep 0.05; done; }

echo "== torchrun"
mapfile -t arguments < <(train torchrun)
"$torchrun" --no-python --nproc-per-node 2 "$bin" "${arguments[@]}" >/dev/null 2>torchrun.log || { cat torchrun.log; exit 1; }
same torchrun "two processes under torchrun"

mapfile -t arguments < <(train restarted)
"$torchrun" --no-python --nproc-per-node 2 --max-restarts 1 "$bin" "${arguments[@]}" --resume >/dev/null 2>restarted.log &
agent=$!
has_logged restarted 60
pkill -9 -n -f -- "--out restarted"
wait "$agent" || { cat restarted.log; exit 1; }
grep -q "lost another one\|SIGKILL\|Signal 9" restarted.log || { echo "FAILED: nobody was killed"; exit 1; }
same restarted "one of two killed under torchrun --max-restarts 1"

echo "== network namespaces"
if [ "$(id -u)" != 0 ] || ! ip netns add deepmim0 2>/dev/null; then
    echo "left out: ip netns needs root"
    exit
fi
ip netns add deepmim1
ip link add dm0 type veth peer name dm1
for n in 0 1; do
    ip link set "dm$n" netns "deepmim$n"
    ip -n "deepmim$n" addr add "10.77.0.$((n + 1))/24" dev "dm$n"
    ip -n "deepmim$n" link set "dm$n" up
    ip -n "deepmim$n" link set lo up
done
# Both processes of run $1 in the background, with further arguments; what they say goes to $1.RANK.log.
both() {
    local run="$1" rank
    shift
    mapfile -t arguments < <(train "$run")
    for rank in 0 1; do
        ip netns exec "deepmim$rank" env RANK="$rank" LOCAL_RANK=0 WORLD_SIZE=2 MASTER_ADDR=10.77.0.1 MASTER_PORT=29511 \
            DEEPMIM_RANK_TIMEOUT=5 "$bin" "${arguments[@]}" "$@" >/dev/null 2>"$run.$rank.log" &
    done
}
both apart
wait
same apart "two machines' addresses"

both cut
has_logged cut 60
ip -n deepmim0 link set dm0 down
started=$SECONDS
wait
echo "ok: both ended $((SECONDS - started)) s after the link was cut (time-out 5 s), saying:"
sed 's/^/      /' cut.0.log cut.1.log
grep -q "error: process 0 lost another one" cut.0.log && grep -q "error: process 1 lost another one" cut.1.log
ip -n deepmim0 link set dm0 up
both cut --resume
wait
same cut "a cut link, mended, and --resume"

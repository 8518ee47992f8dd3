#!/usr/bin/env bash
# DeepMIM on every reconstruction target that needs no foreign weights, on the same pictures; then what their layers
# have learnt, in one table. Two trainings run side by side with one thread each.
#
#   benches/targets.sh CIFAR10 FOLDER [SEEDS]
#
# CIFAR10 has train/<class>/ and test/<class>/. FOLDER gets a run for each training, and analysis_targets with page,
# plots and tables; runs of benches/claims.sh in the same folder are taken. The teacher of target `features` is MAE on
# pixels with the same seed. SEEDS is a number, 1 unless given. What is finished is not done again. DEEPMIM names the
# program.
set -euo pipefail

data=${1:?folder of CIFAR-10}
out=${2:?folder for runs and results}
seeds=${3:-1}
here=$(cd "$(dirname "$0")/.." && pwd)
deepmim=${DEEPMIM:-deepmim}
tokens="$out/cifar10_tokens"
mkdir -p "$out"
. "$here/benches/cifar10_runs.sh"

if [ ! -f "$tokens/tokens.safetensors" ]; then
    "$deepmim" data tokens "$here/configs/cifar10_pretrain_deepmim_tokens.toml" --data "$data" \
        --set "model.target.folder=\"$tokens\""
fi
deep=cifar10_pretrain_deepmim
for ((seed = 0; seed < seeds; seed++)); do
    pretrain "mae_pixels_$seed" cifar10_pretrain_mae "$seed" & a=$!
    pretrain "deepmim_pixels_$seed" "$deep" "$seed" & b=$!
    both "$a" "$b"
    pretrain "deepmim_hog_$seed" "${deep}_hog" "$seed" & a=$!
    pretrain "deepmim_hybrid_$seed" "${deep}_hybrid" "$seed" & b=$!
    both "$a" "$b"
    pretrain "deepmim_ema_$seed" "${deep}_ema" "$seed" & a=$!
    pretrain "deepmim_features_$seed" "${deep}_features" "$seed" --teacher "$out/mae_pixels_$seed" & b=$!
    both "$a" "$b"
    pretrain "deepmim_tokens_$seed" "${deep}_tokens" "$seed" --set "model.target.folder=\"$tokens\""
done

checkpoints=()
for target in pixels hog hybrid ema features tokens; do
    for ((seed = 0; seed < seeds; seed++)); do
        checkpoints+=("$target=$out/deepmim_${target}_$seed")
    done
done
analyze analysis_targets "${checkpoints[@]}"

# One after the other, with nothing beside them.
for _ in 1 2 3; do
    estimate pixels "$deep"
    for target in hog hybrid ema; do
        estimate "$target" "${deep}_$target"
    done
    estimate features "${deep}_features" --teacher "$out/mae_pixels_0"
    estimate tokens "${deep}_tokens" --set "model.target.folder=\"$tokens\""
done

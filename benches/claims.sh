#!/usr/bin/env bash
# DeepMIM's four claims on pictures at hand: MAE and DeepMIM on two targets, the same pictures, several seeds each;
# then what their layers have learnt. Two trainings run side by side with one thread each.
#
#   benches/claims.sh CIFAR10 FOLDER [SEEDS]
#
# CIFAR10 has train/<class>/ and test/<class>/. FOLDER gets a run for each training, and analysis_pixels and
# analysis_hog with page, plots and tables. SEEDS is a number, 3 unless given. What is finished is not done again.
# About two hours on two cores. DEEPMIM names the program.
set -euo pipefail

data=${1:?folder of CIFAR-10}
out=${2:?folder for runs and results}
seeds=${3:-3}
here=$(cd "$(dirname "$0")/.." && pwd)
deepmim=${DEEPMIM:-deepmim}
mkdir -p "$out"
. "$here/benches/cifar10_runs.sh"

mae() { # target seed
    local recipe=cifar10_pretrain_mae more=()
    if [ "$1" = hog ]; then
        # MAE on this target: DeepMIM's recipe with the last tap alone and MAE's depth of the decoder.
        recipe=cifar10_pretrain_deepmim_hog
        more=(--set "model.taps=[12]" --set model.decoder.depth=2)
    fi
    pretrain "mae_$1_$2" "$recipe" "$2" "${more[@]}"
}

deep() { # target seed
    local recipe=cifar10_pretrain_deepmim
    [ "$1" = pixels ] || recipe+="_$1"
    pretrain "deepmim_$1_$2" "$recipe" "$2"
}

for target in pixels hog; do
    checkpoints=()
    for ((seed = 0; seed < seeds; seed++)); do
        mae "$target" "$seed" & a=$!
        deep "$target" "$seed" & b=$!
        both "$a" "$b"
    done
    for method in mae:MAE deepmim:DeepMIM; do
        for ((seed = 0; seed < seeds; seed++)); do
            checkpoints+=("${method#*:}=$out/${method%:*}_${target}_$seed")
        done
    done
    analyze "analysis_$target" "${checkpoints[@]}"
done

# One after the other, with nothing beside them.
for method in mae deepmim; do
    estimate "$method" "cifar10_pretrain_$method"
done

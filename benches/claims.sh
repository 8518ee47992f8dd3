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

pretrain() { # method target seed
    local recipe="$here/configs/cifar10_pretrain_$1.toml" more=()
    if [ "$2" = hog ]; then
        recipe="$here/configs/cifar10_pretrain_deepmim_hog.toml"
        # MAE on this target: DeepMIM's recipe with the last tap alone and MAE's depth of the decoder.
        [ "$1" = mae ] && more=(--set "model.taps=[12]" --set model.decoder.depth=2)
    fi
    "$deepmim" pretrain "$recipe" --data "$data" --out "$out/$1_$2_$3" --resume --set "trainer.seed=$3" \
        --set trainer.threads=1 --set data.threads=1 "${more[@]}" 2>> "$out/$1_$2_$3.log"
}

both() { # waits for two trainings in the background; then a failed one ends the script
    local failed=0
    wait "$1" || failed=1
    wait "$2" || failed=1
    return "$failed"
}

for target in pixels hog; do
    for ((seed = 0; seed < seeds; seed++)); do
        pretrain mae "$target" "$seed" &
        mae=$!
        pretrain deepmim "$target" "$seed" &
        deep=$!
        both "$mae" "$deep"
    done
    checkpoints=()
    for method in mae:MAE deepmim:DeepMIM; do
        for ((seed = 0; seed < seeds; seed++)); do
            checkpoints+=("${method#*:}=$out/${method%:*}_${target}_$seed")
        done
    done
    "$deepmim" analyze "${checkpoints[@]}" --config "$here/configs/cifar10_analyze.toml" --data "$data" \
        --out "$out/analysis_$target"
done

# What a step costs, one after the other, with all cores.
for recipe in mae deepmim; do
    told=$("$deepmim" pretrain "$here/configs/cifar10_pretrain_$recipe.toml" --data "$data" --estimate)
    echo "$recipe: ${told//$'\n'/}"
done

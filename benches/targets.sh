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

pretrain() { # run recipe seed [arguments]
    "$deepmim" pretrain "$here/configs/$2.toml" --data "$data" --out "$out/$1_$3" --resume --set "trainer.seed=$3" \
        --set trainer.threads=1 --set data.threads=1 "${@:4}" 2>> "$out/$1_$3.log"
}

both() { # waits for two trainings in the background; then a failed one ends the script
    local failed=0
    wait "$1" || failed=1
    wait "$2" || failed=1
    return "$failed"
}

if [ ! -f "$tokens/tokens.safetensors" ]; then
    "$deepmim" data tokens "$here/configs/cifar10_pretrain_deepmim_tokens.toml" --data "$data" \
        --set "model.target.folder=\"$tokens\""
fi
deep=cifar10_pretrain_deepmim
for ((seed = 0; seed < seeds; seed++)); do
    pretrain mae_pixels cifar10_pretrain_mae "$seed" & a=$!
    pretrain deepmim_pixels "$deep" "$seed" & b=$!
    both "$a" "$b"
    pretrain deepmim_hog "${deep}_hog" "$seed" & a=$!
    pretrain deepmim_hybrid "${deep}_hybrid" "$seed" & b=$!
    both "$a" "$b"
    pretrain deepmim_ema "${deep}_ema" "$seed" & a=$!
    pretrain deepmim_features "${deep}_features" "$seed" --teacher "$out/mae_pixels_$seed" & b=$!
    both "$a" "$b"
    pretrain deepmim_tokens "${deep}_tokens" "$seed" --set "model.target.folder=\"$tokens\""
done

checkpoints=()
for target in pixels hog hybrid ema features tokens; do
    for ((seed = 0; seed < seeds; seed++)); do
        checkpoints+=("$target=$out/deepmim_${target}_$seed")
    done
done
"$deepmim" analyze "${checkpoints[@]}" --config "$here/configs/cifar10_analyze.toml" --data "$data" \
    --out "$out/analysis_targets"

# What a step costs, one after the other, with all cores.
estimate() { # target [arguments]
    local recipe=$deep
    [ "$1" = pixels ] || recipe+="_$1"
    local told
    told=$("$deepmim" pretrain "$here/configs/$recipe.toml" --data "$data" --estimate "${@:2}")
    echo "$1: ${told//$'\n'/}"
}
for _ in 1 2 3; do
    estimate pixels
    estimate hog
    estimate hybrid
    estimate ema
    estimate features --teacher "$out/mae_pixels_0"
    estimate tokens --set "model.target.folder=\"$tokens\""
done

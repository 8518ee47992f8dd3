# shellcheck shell=bash
# What claims.sh and targets.sh share; they set `data`, `out`, `here` and `deepmim`.

# A pre-training with one thread, into the run $out/NAME; a finished one is left as it is.
pretrain() { # NAME RECIPE SEED [ARGUMENT…]
    "$deepmim" pretrain "$here/configs/$2.toml" --data "$data" --out "$out/$1" --resume --set "trainer.seed=$3" \
        --set trainer.threads=1 --set data.threads=1 "${@:4}" 2>> "$out/$1.log"
}

# Waits for two trainings in the background; then a failed one ends the script.
both() { # PID PID
    local failed=0
    wait "$1" || failed=1
    wait "$2" || failed=1
    return "$failed"
}

# What a step costs with all cores, on a line.
estimate() { # NAME RECIPE [ARGUMENT…]
    local told
    told=$("$deepmim" pretrain "$here/configs/$2.toml" --data "$data" --estimate "${@:3}")
    echo "$1: ${told//$'\n'/}"
}

# What the layers of CHECKPOINTs have learnt, into $out/NAME.
analyze() { # NAME CHECKPOINT…
    "$deepmim" analyze "${@:2}" --config "$here/configs/cifar10_analyze.toml" --data "$data" --out "$out/$1"
}

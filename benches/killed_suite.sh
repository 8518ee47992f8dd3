#!/usr/bin/env bash
# Runs a suite without interruption, and once more killed without warning at five random moments, and compares
# the leaderboards to the last digit.
#
#   benches/killed_suite.sh SUITE.toml FOLDER [SEED]
#
# Runs and both leaderboards are left in FOLDER/whole and FOLDER/killed. deepmim must be on the PATH.
set -euo pipefail
suite="$1" folder="$2" seed="${3:-1}"
mkdir -p "$folder"
for part in whole killed; do
    { printf 'out = "%s"\n' "$folder/$part"; grep -v '^out *=' "$suite"; } >"$folder/$part.toml"
done
began=$SECONDS
deepmim suite "$folder/whole.toml"
whole=$((SECONDS - began))
RANDOM="$seed"
for round in 1 2 3 4 5; do
    pause=$((3 + RANDOM * whole / 4 / 32768))
    deepmim suite "$folder/killed.toml" &
    pid=$!
    sleep "$pause"
    if kill -9 "$pid" 2>/dev/null; then
        echo "killed after $pause s (round $round)"
    else
        echo "ended within $pause s (round $round)"
    fi
    wait "$pid" 2>/dev/null || true
done
deepmim suite "$folder/killed.toml"
cmp "$folder/whole/leaderboard.csv" "$folder/killed/leaderboard.csv"
echo "the same leaderboard to the last digit; uninterrupted it took $whole s"

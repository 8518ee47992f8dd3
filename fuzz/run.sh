#!/usr/bin/env bash
# Fuzzes every target of the evaluation, one after the other, starting from the recorded test files.
#
#   fuzz/run.sh [SECONDS]        default: 600 a target; needs cargo-fuzz (cargo install cargo-fuzz)
#
# Found inputs stay in the cache folder; a failure stops the script and names the input that fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
seconds="${1:-600}"
cache="${DEEPMIM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/deepmim}"
corpus="$cache/fuzz-corpus"
golden=parity/golden

# Seeds: the leading bytes are the flags that each target reads first.
seed() { # TARGET FLAGS FILE...
    local target="$1" flags="$2" file
    shift 2
    mkdir -p "$corpus/$target"
    for file in "$@"; do
        { printf "$flags"; cat "$file"; } >"$corpus/$target/$(printf '%s%s' "$flags" "$file" | cksum | cut -d' ' -f1)"
    done
}
for flags in '\0\1\1' '\1\1\1' '\0\1\0'; do seed coco_annotations "$flags" "$golden"/coco_eval/*/gt.json; done
for flags in '\0\0' '\1\0'; do seed coco_results "$flags" "$golden"/coco_eval/*/dt_bbox.json; done
for flags in '\0\1' '\1\1'; do seed coco_results "$flags" "$golden"/coco_eval/*/dt_segm.json; done
for flags in '\0\0' '\1\0'; do seed predictions_csv "$flags" "$golden"/imagenet_scores/*.csv; done
pictures="$(mktemp -d)"
trap 'rm -rf "$pictures"' EXIT
python3 - "$pictures" <<'PY'
import pathlib, struct, sys, zlib

def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

# (name, bit depth, colour type): grey of every depth, palette, and colours that are no label map.
for name, depth, colour in [("grey1", 1, 0), ("grey8", 8, 0), ("grey16", 16, 0), ("palette", 8, 3), ("rgb", 8, 2)]:
    width, height = 9, 4
    row = (width * depth * (3 if colour == 2 else 1) + 7) // 8
    rows = b"".join(bytes([y % 5]) + bytes((x * 7 + y) % 150 for x in range(row)) for y in range(height))
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    if colour == 3:
        png += chunk(b"PLTE", bytes(range(256)) * 3)
    png += chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (pathlib.Path(sys.argv[1]) / f"{name}.png").write_bytes(png)
PY
for flags in '\0\0' '\1\1'; do seed label_png "$flags" "$pictures"/*.png; done
mkdir -p "$corpus/rle"

# Without a sanitizer: the code has no unsafe blocks, and a stable compiler will do.
# FUZZ_TARGETS="a b" runs these alone.
for target in ${FUZZ_TARGETS:-rle coco_annotations coco_results predictions_csv label_png}; do
    echo "== $target"
    dictionary=()
    case "$target" in coco_*) dictionary=(-dict=fuzz/json.dict) ;; esac
    RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none --target-dir "$cache/fuzz-target" "$target" "$corpus/$target" -- \
        -max_total_time="$seconds" -max_len=65536 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 "${dictionary[@]}"
done

#!/usr/bin/env bash
# One training step of each task on a GPU in bfloat16, beside the Python references at the same batch: seconds and
# peak memory of both. MAE ViT-B at batch 128, ViTDet-B on a picture of 1024 pixels, UperNet-B on two of 512.
#
#   . scripts/setup.sh      (with an NVIDIA driver: PyTorch with CUDA)
#   benches/gpu.sh PYTHON DETECTRON2 DEEPMIM
#
# PYTHON has benches/requirements.txt, DETECTRON2 and DEEPMIM are checkouts of facebookresearch/detectron2 and
# OliverRensu/DeepMIM. Set DEEPMIM_BENCH_DEVICE=cpu to try the script itself on a CPU, with BATCH=2, say.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python="$1" detectron2="$2" deepmim="$3"
device="${DEEPMIM_BENCH_DEVICE:-cuda}"
options=(--device "$device" --precision bf16)
"$python" benches/train_step.py pretrain --batch "${BATCH:-128}" --rounds "${ROUNDS:-20}" "${options[@]}"
"$python" benches/detection.py --detectron2 "$detectron2" --mode train --rounds "${ROUNDS:-20}" --turns "${TURNS:-3}" "${options[@]}"
"$python" benches/segmentation.py --deepmim "$deepmim" --mode train --rounds "${ROUNDS:-20}" --turns "${TURNS:-3}" "${options[@]}"

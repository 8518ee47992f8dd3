"""Records five steps of AdamW, LARS and gradient clipping.

    python make.py PATH_OF_facebookresearch_mae

AdamW and clip_grad_norm_ are torch 2.11's; LARS is util/lars.py of facebookresearch/mae. Three
parameters: a matrix `w` with weight decay 0.05, a vector `b` with half the learning rate and no
decay, and a matrix `z` that starts at zero (LARS's special case). `b` has no gradient in the first
two steps, `z` none in the first.
Steps are named by number; step n's tensors are the values after it.
"""

import pathlib
import sys

import torch
from safetensors.torch import save_file

sys.path.insert(0, str(pathlib.Path(sys.argv[1]) / "util"))
from lars import LARS  # noqa: E402

LRS = [0.0, 0.01, 0.05, 0.04, 0.003]
torch.manual_seed(0)
start = {"w": torch.randn(3, 2), "b": torch.randn(2), "z": torch.zeros(2, 2)}
grads = [{name: torch.randn_like(p) for name, p in start.items()} for _ in LRS]
out = {f"start.{name}": p.clone() for name, p in start.items()}
out["lr"] = torch.tensor(LRS, dtype=torch.float64)
for step, grad in enumerate(grads):
    for name, value in grad.items():
        if (step, name) not in [(0, "b"), (1, "b"), (0, "z")]:
            out[f"grad.{step}.{name}"] = value.clone()


def run(label, make):
    params = {name: torch.nn.Parameter(p.clone()) for name, p in start.items()}
    groups = [
        {"params": [params["w"], params["z"]], "weight_decay": 0.05, "lr_scale": 1.0},
        {"params": [params["b"]], "weight_decay": 0.0, "lr_scale": 0.5},
    ]
    optimizer = make(groups)
    for step, lr in enumerate(LRS):
        for group in optimizer.param_groups:
            group["lr"] = lr * group["lr_scale"]
        for name, p in params.items():
            recorded = out.get(f"grad.{step}.{name}")
            p.grad = None if recorded is None else recorded.clone()
        optimizer.step()
        for name, p in params.items():
            out[f"{label}.{step}.{name}"] = p.detach().clone()
    return optimizer, params


adamw, params = run("adamw", lambda groups: torch.optim.AdamW(groups, lr=0.1, betas=(0.9, 0.95), eps=1e-8))
for name, p in params.items():
    for key in ("exp_avg", "exp_avg_sq", "step"):
        out[f"adamw.{key}.{name}"] = adamw.state[p][key].clone().double()
run("lars", lambda groups: LARS(groups, lr=0.1, momentum=0.9, trust_coefficient=0.001))

for label, limit in (("loose", 100.0), ("tight", 0.7)):
    clipped = {name: torch.nn.Parameter(p.clone()) for name, p in start.items()}
    for name, p in clipped.items():
        p.grad = grads[2][name].clone()
    out[f"clip.{label}.norm"] = torch.nn.utils.clip_grad_norm_(clipped.values(), limit).double()
    for name, p in clipped.items():
        out[f"clip.{label}.{name}"] = p.grad.clone()

save_file(out, pathlib.Path(__file__).parent / "steps.safetensors")

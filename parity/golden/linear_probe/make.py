"""Records five linear-probing steps of a head: BatchNorm1d(affine=False, eps=1e-6) + Linear, plain
cross-entropy, LARS (momentum 0.9, trust coefficient 0.001, no decay and no rate scaling of vectors).

The set-up is that of MAE's main_linprobe.py; torch is the reference for layers and gradients, and
LARS is written out below from its definition (arXiv 1708.03888, as MoCo v3 applies it).
Run: python make.py   (torch 2.11, safetensors). Writes data.safetensors beside itself.
"""

import pathlib

import torch
from safetensors.torch import save_file

STEPS, BATCH, WIDTH, CLASSES = 5, 6, 24, 7
LR, MOMENTUM, TRUST, DECAY = 0.3, 0.9, 0.001, 0.01


def lars_step(parameters, momenta):
    with torch.no_grad():
        for p, mu in zip(parameters, momenta):
            update = p.grad
            if p.ndim > 1:
                update = update + DECAY * p
                weight, size = p.norm(), update.norm()
                if weight > 0 and size > 0:
                    update = update * (TRUST * weight / size)
            mu.mul_(MOMENTUM).add_(update)
            p.sub_(LR * mu)


def record(dtype):
    torch.manual_seed(0)
    features = (torch.randn(STEPS, BATCH, WIDTH, dtype=torch.float64) * 3 + 1).to(dtype)
    target = torch.randint(CLASSES, (STEPS, BATCH))
    norm = torch.nn.BatchNorm1d(WIDTH, affine=False, eps=1e-6).to(dtype)
    linear = torch.nn.Linear(WIDTH, CLASSES).to(dtype)
    with torch.no_grad():
        linear.weight.copy_(torch.randn(CLASSES, WIDTH, dtype=torch.float64) * 0.5)
        linear.bias.copy_(torch.randn(CLASSES, dtype=torch.float64) * 0.5)
    out = {
        "features": features,
        "target": target,
        "start/head.1.weight": linear.weight.detach().clone(),
        "start/head.1.bias": linear.bias.detach().clone(),
    }
    parameters = [linear.weight, linear.bias]
    momenta = [torch.zeros_like(p) for p in parameters]
    losses = []
    for step in range(STEPS):
        for p in parameters:
            p.grad = None
        loss = torch.nn.functional.cross_entropy(linear(norm(features[step])), target[step])
        loss.backward()
        lars_step(parameters, momenta)
        losses.append(loss.detach())
    norm.eval()
    out |= {
        "losses": torch.stack(losses),
        "final/head.1.weight": linear.weight.detach().clone(),
        "final/head.1.bias": linear.bias.detach().clone(),
        "final/head.0.running_mean": norm.running_mean.clone(),
        "final/head.0.running_var": norm.running_var.clone(),
        "eval_logits": linear(norm(features[0])).detach(),
    }
    return out


single, double = record(torch.float32), record(torch.float64)
for name, value in single.items():
    if value.is_floating_point():
        scale = double[name].abs().max()
        print(f"{name}: {((value.double() - double[name]).abs().max() / scale).item():.2e}")
save_file(single, str(pathlib.Path(__file__).parent / "data.safetensors"))

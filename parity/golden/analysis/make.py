"""Records what measures of layers are, by packages and by definitions written out.

    pip install -r parity/golden/analysis/requirements.txt
    python parity/golden/analysis/make.py

analysis.safetensors, float64:

- `a0`, `a1`, `a2` and `b0`, `b1`: features of 60 pictures in two models, [60, C] with C from 5 to 30; `cka` [5, 5]:
  torch_cka's comparison of all five over batches of 20.
- `ranks` [5]: RankMe (arXiv 2210.02885, equation 1) of each by numpy's singular values.
- `maps` [2, 2, 3, 10, 10], two layers of two pictures, three heads, a class token and 3 x 3 patches of 4 pixels; of
  the patches' rows divided by their sums, averaged over queries: `distance`, `entropy` [2, 2, 3], `head_divergence`
  (torch.nn.functional.kl_div) and `head_cosine` (torch.nn.functional.cosine_similarity) [2, 2, 3, 3],
  `layer_divergence` (of maps averaged over heads) and `layer_cosine` (head by head) [2, 2, 2]. Layers come first in
  `maps`, pictures first in the results.
"""

import pathlib

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch_cka import CKA

FOLDER = pathlib.Path(__file__).parent
PATCH, GRID = 4, 3


class Recorded(torch.nn.Module):
    """A model whose layers give recorded features for numbers of pictures."""

    def __init__(self, features):
        super().__init__()
        self.features = features
        self.layers = torch.nn.ModuleList(torch.nn.Identity() for _ in features)

    def forward(self, numbers):
        for layer, features in zip(self.layers, self.features):
            layer(features[numbers])
        return numbers


def cka(features):
    names = [f"layers.{number}" for number in range(len(features))]
    both = [Recorded(features), Recorded(features)]
    comparison = CKA(*both, model1_layers=names, model2_layers=names, device="cpu")
    pictures = torch.utils.data.TensorDataset(torch.arange(60))
    comparison.compare(torch.utils.data.DataLoader(pictures, batch_size=20))
    return comparison.export()["CKA"]


def rank_me(features):
    values = np.linalg.svd(features.numpy(), compute_uv=False)
    shares = values / values.sum() + 1e-7
    return np.exp(-(shares * np.log(shares)).sum())


def attention(maps):
    rows = maps[..., 1:, 1:]
    rows = (rows / rows.sum(-1, keepdim=True)).transpose(0, 1)  # pictures, layers, heads, queries, keys
    pictures, layers, heads, queries, _ = rows.shape
    out = {
        "distance": torch.zeros(pictures, layers, heads),
        "entropy": torch.zeros(pictures, layers, heads),
        "head_divergence": torch.zeros(pictures, layers, heads, heads),
        "head_cosine": torch.zeros(pictures, layers, heads, heads),
        "layer_divergence": torch.zeros(pictures, layers, layers),
        "layer_cosine": torch.zeros(pictures, layers, layers),
    }
    place = [divmod(patch, GRID) for patch in range(queries)]
    for b in range(pictures):
        for l in range(layers):
            for h in range(heads):
                for i in range(queries):
                    p = rows[b, l, h, i]
                    far = sum(
                        p[j] * PATCH * np.hypot(place[i][0] - place[j][0], place[i][1] - place[j][1])
                        for j in range(queries)
                    )
                    out["distance"][b, l, h] += far / queries
                    out["entropy"][b, l, h] += torch.distributions.Categorical(p).entropy() / queries
                for g in range(heads):
                    p, q = rows[b, l, h], rows[b, l, g]
                    out["head_divergence"][b, l, h, g] = F.kl_div(q.log(), p, reduction="sum") / queries
                    out["head_cosine"][b, l, h, g] = F.cosine_similarity(p, q, dim=-1).mean()
            for m in range(layers):
                p, q = rows[b, l].mean(0), rows[b, m].mean(0)
                out["layer_divergence"][b, l, m] = F.kl_div(q.log(), p, reduction="sum") / queries
                out["layer_cosine"][b, l, m] = F.cosine_similarity(rows[b, l], rows[b, m], dim=-1).mean()
    return out


def main():
    torch.set_default_dtype(torch.float64)  # or torch_cka's constants are float32
    generator = torch.Generator().manual_seed(11)
    random = lambda *shape: torch.randn(*shape, generator=generator)
    base = random(60, 8)
    features = [
        base @ random(8, width) + noise * random(60, width) + 1.5
        for width, noise in [(5, 0.1), (12, 1.0), (30, 3.0), (9, 0.5), (20, 8.0)]
    ]
    maps = (2 * random(2, 2, 3, 10, 10)).softmax(-1)
    recorded = dict(zip(["a0", "a1", "a2", "b0", "b1"], features))
    recorded["cka"] = cka(features)
    recorded["ranks"] = torch.tensor([rank_me(x) for x in features])
    recorded["maps"] = maps
    recorded.update(attention(maps))
    save_file({name: value.contiguous() for name, value in recorded.items()}, FOLDER / "analysis.safetensors")


if __name__ == "__main__":
    main()

"""The PyTorch side of the step benchmark: ViT, MAE and their recipes as a PyTorch user has them today.

Written for this benchmark on torch.nn with the mathematics of MAE's models and timm's blocks:
pre-norm blocks, one qkv projection, F.scaled_dot_product_attention, erf GELU, drop path drawn per
sample. Eager mode, no compilation.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class DropPath(nn.Module):
    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def forward(self, x):
        if self.rate == 0.0 or not self.training:
            return x
        keep = 1.0 - self.rate
        mask = x.new_empty((x.shape[0], 1, 1)).bernoulli_(keep).div_(keep)
        return x * mask


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        batch, tokens, width = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        x = F.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 2).reshape(batch, tokens, width))


class Block(nn.Module):
    def __init__(self, width, heads, drop_path=0.0):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.drop = DropPath(drop_path)

    def forward(self, x):
        x = x + self.drop(self.attn(self.norm1(x)))
        return x + self.drop(self.mlp(self.norm2(x)))


def patchify(images, patch):
    batch, _, height, width = images.shape
    h, w = height // patch, width // patch
    x = images.reshape(batch, 3, h, patch, w, patch).permute(0, 2, 4, 3, 5, 1)
    return x.reshape(batch, h * w, patch * patch * 3)


class Classifier(nn.Module):
    """Mean pooling, fc_norm, linear head; learnable positions; drop path linear over depth."""

    def __init__(self, size, patch, width, depth, heads, classes, drop_path):
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)
        self.cls_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + (size // patch) ** 2, width) * 0.02)
        rates = torch.linspace(0, drop_path, depth).tolist()
        self.blocks = nn.ModuleList(Block(width, heads, rate) for rate in rates)
        self.fc_norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, classes)

    def forward(self, images):
        x = self.proj(images).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1)
        x = x + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(self.fc_norm(x[:, 1:].mean(dim=1)))

    def loss(self, images, targets):
        return torch.sum(-targets * F.log_softmax(self(images), dim=-1), dim=-1).mean()

    def groups(self, weight_decay=0.05, layer_decay=0.75):
        """MAE's parameter groups: one per layer and decay."""
        last = len(self.blocks) + 1
        groups = {}
        for name, parameter in self.named_parameters():
            if name in ("cls_token", "pos_embed") or name.startswith("proj"):
                layer = 0
            elif name.startswith("blocks"):
                layer = int(name.split(".")[1]) + 1
            else:
                layer = last
            decays = parameter.ndim > 1 and name not in ("cls_token", "pos_embed")
            group = groups.setdefault(
                (layer, decays),
                {
                    "params": [],
                    "weight_decay": weight_decay if decays else 0.0,
                    "lr": 1e-4 * layer_decay ** (last - layer),
                },
            )
            group["params"].append(parameter)
        return list(groups.values())

    def optimizer(self):
        return torch.optim.AdamW(self.groups(), lr=1e-4, betas=(0.9, 0.999))


class MaskedAutoencoder(nn.Module):
    """MAE with normalised pixels: mask 75 %, encode the rest, decode all with 8 blocks of 512."""

    def __init__(self, size, patch, width, depth, heads):
        super().__init__()
        tokens = (size // patch) ** 2
        decoder, decoder_depth, decoder_heads = 512, 8, 16
        self.patch = patch
        self.proj = nn.Conv2d(3, width, patch, patch)
        self.cls_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.register_buffer("pos_embed", torch.randn(1, 1 + tokens, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.decoder_embed = nn.Linear(width, decoder)
        self.mask_token = nn.Parameter(torch.randn(1, 1, decoder) * 0.02)
        self.register_buffer("decoder_pos_embed", torch.randn(1, 1 + tokens, decoder) * 0.02)
        self.decoder_blocks = nn.ModuleList(Block(decoder, decoder_heads) for _ in range(decoder_depth))
        self.decoder_norm = nn.LayerNorm(decoder, eps=1e-6)
        self.decoder_pred = nn.Linear(decoder, patch * patch * 3)

    def loss(self, images, ratio=0.75):
        x = self.proj(images).flatten(2).transpose(1, 2) + self.pos_embed[:, 1:]
        batch, tokens, width = x.shape
        keep = int(tokens * (1 - ratio))
        shuffle = torch.argsort(torch.rand(batch, tokens), dim=1)
        restore = torch.argsort(shuffle, dim=1)
        x = torch.gather(x, 1, shuffle[:, :keep].unsqueeze(-1).repeat(1, 1, width))
        mask = torch.ones(batch, tokens)
        mask[:, :keep] = 0
        mask = torch.gather(mask, 1, restore)
        first = (self.cls_token + self.pos_embed[:, :1]).expand(batch, -1, -1)
        x = torch.cat((first, x), dim=1)
        for block in self.blocks:
            x = block(x)
        x = self.decoder_embed(self.norm(x))
        filler = self.mask_token.repeat(batch, tokens - keep, 1)
        patches = torch.cat((x[:, 1:], filler), dim=1)
        patches = torch.gather(patches, 1, restore.unsqueeze(-1).repeat(1, 1, x.shape[2]))
        x = torch.cat((x[:, :1], patches), dim=1) + self.decoder_pos_embed
        for block in self.decoder_blocks:
            x = block(x)
        prediction = self.decoder_pred(self.decoder_norm(x))[:, 1:]
        target = patchify(images, self.patch)
        mean = target.mean(dim=-1, keepdim=True)
        variance = target.var(dim=-1, keepdim=True)
        target = (target - mean) / (variance + 1e-6) ** 0.5
        loss = ((prediction - target) ** 2).mean(dim=-1)
        return (loss * mask).sum() / mask.sum()

    def optimizer(self, weight_decay=0.05):
        """timm's add_weight_decay: vectors are not decayed."""
        matrices = [p for p in self.parameters() if p.ndim > 1]
        vectors = [p for p in self.parameters() if p.ndim <= 1]
        groups = [
            {"params": matrices, "weight_decay": weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.95))

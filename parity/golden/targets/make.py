"""Records reconstruction targets: HOG of scikit-image, features of a timm transformer, losses of torch.

    pip install -r parity/golden/targets/requirements.txt
    python parity/golden/targets/make.py

targets.safetensors, for two pictures `images` [2, 3, 32, 32] of values 0 to 1:

- `hog`: 9 orientations, cells of 8, patches of 16; `hog_small`: 6 orientations, cells of 4, patches of 8.
  skimage.feature.hog of each channel alone, blocks of a patch's cells, block norm L2; only the blocks that are
  patches; channels in a row: [2, L, 3 * cells * cells * orientations].
- `features_2`, `features_3`: patch tokens of the teacher (teacher.safetensors: timm's names) after its second
  block, and after its third and the final norm, for the pictures normalised with ImageNet's colours, float64.
- `prediction` [2, 16, 24] and each patch's loss against `features_2`: `cosine` (2 - 2 cos), `l2` and `smooth_l1`
  against layer_norm(features, eps=1e-6).
- `scores` [2, 16, 11], `ids`, and each patch's `cross_entropy`.
"""

import pathlib

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from skimage.feature import hog
from timm.models.vision_transformer import VisionTransformer

FOLDER = pathlib.Path(__file__).parent
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def pictures(generator):
    """Smooth waves of several directions with some noise: gradients in every bin."""
    y, x = np.mgrid[0:32, 0:32] / 32
    out = np.zeros((2, 3, 32, 32))
    for sample in range(2):
        for channel in range(3):
            for _ in range(4):
                a, b, phase = generator.uniform(-9, 9, 3)
                out[sample, channel] += np.sin(a * x * 2 + b * y * 2 + phase)
    out = (out - out.min()) / (out.max() - out.min())
    return np.clip(0.9 * out + 0.05 + generator.normal(0, 0.01, out.shape), 0, 1).astype(np.float32)


def hog_of_patches(images, orientations, cell, patch):
    cells = patch // cell
    result = []
    for image in images:
        channels = []
        for channel in image:
            blocks = hog(channel.astype(np.float64), orientations, (cell, cell), (cells, cells), block_norm="L2",
                         feature_vector=False)
            own = blocks[::cells, ::cells]
            channels.append(own.reshape(own.shape[0] * own.shape[1], -1))
        result.append(np.concatenate(channels, axis=1))
    return torch.from_numpy(np.stack(result))


def main():
    generator = np.random.default_rng(7)
    torch.manual_seed(7)
    images = pictures(generator)
    teacher = VisionTransformer(img_size=32, patch_size=8, embed_dim=24, depth=3, num_heads=3, num_classes=0)
    for parameter in teacher.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    teacher = teacher.eval().float()
    weights = {name: value.detach().clone().contiguous() for name, value in teacher.state_dict().items()}
    save_file(weights, FOLDER / "teacher.safetensors")

    teacher = teacher.double()
    wide = torch.from_numpy(images).double()
    channel = lambda of: torch.tensor(of, dtype=torch.float64).view(1, 3, 1, 1)
    with torch.no_grad():
        tokens = teacher._pos_embed(teacher.patch_embed((wide - channel(MEAN)) / channel(STD)))
        outputs = []
        for block in teacher.blocks:
            tokens = block(tokens)
            outputs.append(tokens)
        second, third = outputs[1][:, 1:], teacher.norm(outputs[2])[:, 1:]

    prediction = torch.randn(2, 16, 24, dtype=torch.float64)
    normed = F.layer_norm(second, (24,), eps=1e-6)
    scores, ids = torch.randn(2, 16, 11, dtype=torch.float64), torch.randint(0, 11, (2, 16))
    record = {
        "images": torch.from_numpy(images),
        "hog": hog_of_patches(images, 9, 8, 16),
        "hog_small": hog_of_patches(images, 6, 4, 8),
        "features_2": second,
        "features_3": third,
        "prediction": prediction,
        "cosine": 2 - 2 * F.cosine_similarity(prediction, second, dim=-1),
        "l2": F.mse_loss(prediction, normed, reduction="none").mean(-1),
        "smooth_l1": F.smooth_l1_loss(prediction, normed, reduction="none").mean(-1),
        "scores": scores,
        "ids": ids,
        "cross_entropy": F.cross_entropy(scores.transpose(1, 2), ids, reduction="none"),
    }
    save_file({name: value.contiguous() for name, value in record.items()}, FOLDER / "targets.safetensors")


if __name__ == "__main__":
    main()

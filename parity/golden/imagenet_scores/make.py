"""Records classification scores of made-up predictions, computed with numpy in double precision.

Two "models" with different skill and confidence see 150 pictures of 12 classes. Top-k accuracy is
counted from a stable sort, the loss is -log softmax of the label, the calibration error is equation
5 of arXiv 1706.04599 with 15 bins (lower, upper], and ReaL accuracy is that of
google-research/reassessed-imagenet (pictures without labels are left out). The standard error of
the paired difference in top-1 is the textbook one of a mean.
Run: python make.py   (numpy). Writes CSV and JSON beside itself.
"""

import json
import pathlib

import numpy as np

PICTURES, CLASSES, BINS = 150, 12, 15
HERE = pathlib.Path(__file__).parent


def softmax(logits):
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def scores(logits, labels, real):
    p = softmax(logits)
    order = np.argsort(-p, axis=1, kind="stable")
    hit = order[:, 0] == labels
    confidence = p.max(1)
    edges = np.linspace(0, 1, BINS + 1)
    error, diagram = 0.0, []
    for low, high in zip(edges[:-1], edges[1:]):
        inside = (confidence > low) & (confidence <= high)
        diagram.append(int(inside.sum()))
        if inside.any():
            error += inside.mean() * abs(hit[inside].mean() - confidence[inside].mean())
    kept = [i for i, allowed in enumerate(real) if allowed]
    return {
        "top1": hit.mean(),
        "top5": (order[:, :5] == labels[:, None]).any(1).mean(),
        "loss": -np.log(p[np.arange(PICTURES), labels]).mean(),
        "calibration_error": error,
        "real": np.mean([order[i, 0] in real[i] for i in kept]),
        "mean_class_top1": np.mean([hit[labels == c].mean() for c in np.unique(labels)]),
        "bins": diagram,
        "hits": hit.astype(int).tolist(),
    }


rng = np.random.default_rng(20261124)
labels = rng.integers(CLASSES, size=PICTURES)
noise = rng.normal(size=(PICTURES, CLASSES))
one_hot = np.eye(CLASSES)[labels]
models = {
    "left": 2.0 * (1.5 * one_hot + noise),
    "right": 2.6 * (1.7 * one_hot + 0.9 * noise + 0.4 * rng.normal(size=noise.shape)),
}
real = [
    sorted({int(label), *rng.integers(CLASSES, size=rng.integers(3)).tolist()})
    if rng.random() > 0.1
    else []
    for label in labels
]
names = [f"ILSVRC2012_val_{i + 1:08}" for i in range(PICTURES)]

expected = {}
for model, logits in models.items():
    logits = logits.round(4)
    expected[model] = scores(logits, labels, real)
    rows = [",".join(["file", *map(str, range(CLASSES))])]
    rows += [",".join([f"{n}.JPEG", *(f"{v:.4f}" for v in row)]) for n, row in zip(names, logits)]
    (HERE / f"{model}.csv").write_text("\n".join(rows) + "\n")
p = softmax(models["left"].round(4))
rows = [",".join(["label", "file", *map(str, range(CLASSES))])]
rows += [
    ",".join([str(label), f"val/{n}.JPEG", *(repr(float(v)) for v in row)])
    for label, n, row in zip(labels, names, p)
]
(HERE / "left_probabilities.csv").write_text("\n".join(rows) + "\n")
rows = ["file,label"] + [f"{n}.JPEG,{label}" for n, label in zip(names, labels)]
(HERE / "labels.csv").write_text("\n".join(rows) + "\n")
(HERE / "ids.txt").write_text("".join(f"{label + 1}\n" for label in labels))
(HERE / "real.json").write_text(json.dumps(real) + "\n")
difference = np.subtract(expected["right"].pop("hits"), expected["left"].pop("hits"))
expected["top1_difference"] = difference.mean()
expected["top1_difference_error"] = difference.std() / np.sqrt(PICTURES)
(HERE / "expected.json").write_text(json.dumps(expected, indent=2) + "\n")

"""Scores exported samples independently of `test`, to verify its scores.

    python cli.py sample --ckpt_path RUN --count 10000 --out DIR
    python -m benchmarks.score_samples DIR/samples.npz [--dataset mnist] [--data_dir data]

Computes the Frechet distance with NumPy's covariances and SciPy's matrix square root. `sample`
draws each class equally often, so some samples are left out: the others have the class frequencies
of the training images, which `test` asks for.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy.linalg import sqrtm
from torch import Tensor

from datamodules import Images
from metrics.judge import load_judge


def as_often_as(wanted: Tensor, labels: Tensor) -> Tensor:
    """Returns rows of labels (N,), as many as possible with the class frequencies of `wanted`."""
    shares = wanted.bincount() / len(wanted)
    count = (labels.bincount(minlength=len(shares)) / shares).min()
    rows = [(labels == k).nonzero()[:, 0] for k in range(len(shares))]
    kept = (count * shares).int().tolist()
    return torch.cat([found[:number] for found, number in zip(rows, kept, strict=True)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("samples", type=Path)
    parser.add_argument("--dataset", default="auto")
    parser.add_argument("--data_dir", default="data")
    options = parser.parse_args()

    data = Images(dataset=options.dataset, data_dir=options.data_dir)
    data.prepare_data()
    data.setup()
    assert data.splits is not None
    judge = load_judge(data.judge or "mnist")
    with np.load(options.samples, allow_pickle=False) as arrays:
        images, labels = torch.from_numpy(arrays["images"])[:, None], arrays.get("labels")
    if labels is not None:
        kept = as_often_as(data.splits.train.targets, torch.from_numpy(labels))
        images, labels = images[kept], labels[kept]
    features, classes = judge.judge(images)
    real = judge.judge(data.splits.test.inputs)[0]

    means = [x.double().numpy().mean(axis=0) for x in (features, real)]
    covariances = [np.cov(x.double().numpy(), rowvar=False) for x in (features, real)]
    root = sqrtm(covariances[0] @ covariances[1]).real
    distance = np.square(means[0] - means[1]).sum() + np.trace(sum(covariances) - 2 * root)
    print(f"{len(images):,} generated images against {len(real):,} test images")
    print(f"frechet         {distance:.6f}")
    if labels is not None:
        print(f"label_accuracy  {(classes.numpy() == labels).mean():.4f}")


if __name__ == "__main__":
    main()

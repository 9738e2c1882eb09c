"""Features and classes as a judge might see them, and images."""

import torch
from torch import Tensor

from metrics import SCORES
from metrics.samples import KeptSamples, Samples

FEATURES, CLASSES, SHAPE = 8, 3, (3, 6, 4)
LIGHT = [score for score in SCORES if not score.needs_images]


def draw(count: int, seed: int, scale: float = 1.0, labeled: bool = True) -> Samples:
    """Draws a Gaussian for each class, of which the judge mistakes a tenth.

    Images are brighter with each class.
    """
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=random)
    features = scale * torch.randn(count, FEATURES, generator=random) + labels[:, None]
    mistaken = torch.rand(count, generator=random) < 0.1
    predicted = torch.where(mistaken, (labels + 1) % CLASSES, labels)
    images = torch.randint(60, (count, *SHAPE), generator=random, dtype=torch.uint8)
    images += (80 * labels).byte()[:, None, None, None]
    return Samples(features, predicted, CLASSES, labels if labeled else None, images)


def sets(labeled: bool = True) -> tuple[Samples, Samples, Samples]:
    """Generated samples, which vary too little, and training and test samples."""
    return draw(300, 0, 0.7, labeled), draw(400, 1), draw(350, 2)


def of(features: Tensor, labels: Tensor | None = None, predicted: Tensor | None = None) -> Samples:
    """Samples with these features; by default of class 0."""
    zeros = torch.zeros(len(features), dtype=torch.int64)
    return Samples(features, zeros if predicted is None else predicted, CLASSES, labels)


def keep(kept: KeptSamples, samples: Samples, rows: Tensor, batch: int = 50) -> None:
    """Adds some rows of the samples in batches."""
    for some in rows.split(batch):
        part = samples.take(some)
        kept.update(some, part.features, part.predicted, part.labels, part.images)

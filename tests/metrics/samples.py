"""Features and classes as a judge might see them."""

from typing import NamedTuple

import torch
from torch import Tensor

from metrics import GeneratorQuality, SampleSet

FEATURES, CLASSES = 8, 3


class Samples(NamedTuple):
    """What `SampleSet.add` takes."""

    features: Tensor
    predicted: Tensor
    labels: Tensor
    numbers: Tensor  # which the metrics call index


def draw(count: int, seed: int, scale: float = 1.0) -> Samples:
    """A Gaussian for each class, of which the judge mistakes a tenth."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=random)
    features = scale * torch.randn(count, FEATURES, generator=random) + labels[:, None]
    mistaken = torch.rand(count, generator=random) < 0.1
    predicted = torch.where(mistaken, (labels + 1) % CLASSES, labels)
    return Samples(features, predicted, labels, torch.arange(count))


def add(to: SampleSet, samples: Samples, rows: Tensor | None = None, batch: int = 50) -> None:
    """Adds some rows of the samples, or all, in batches."""
    for some in samples.numbers.split(batch) if rows is None else rows.split(batch):
        to.add(*(values[some] for values in samples))


def sets(quality: GeneratorQuality) -> list[tuple[SampleSet, Samples]]:
    """Each set with what belongs in it; the generated samples vary too little."""
    return [
        (quality.generated, draw(300, 0, scale=0.7)),
        (quality.train_set, draw(400, 1)),
        (quality.test_set, draw(350, 2)),
    ]

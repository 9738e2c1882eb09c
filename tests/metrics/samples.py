"""Features and classes as a judge might see them, and images."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from metrics import SCORES, GeneratorQuality, LabelledImages, SampleSet, Score, Setting

FEATURES, CLASSES, SHAPE = 8, 3, (3, 6, 4)
FROM_FEATURES = [score for score in SCORES if not score.keeps_images]


class Samples(NamedTuple):
    """The arguments of `SampleSet.add`."""

    features: Tensor
    predicted: Tensor
    labels: Tensor
    numbers: Tensor  # which the metrics call index
    images: Tensor  # brighter with each class


def draw(count: int, seed: int, scale: float = 1.0) -> Samples:
    """Draws a Gaussian for each class, of which the judge mistakes a tenth."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=random)
    features = scale * torch.randn(count, FEATURES, generator=random) + labels[:, None]
    mistaken = torch.rand(count, generator=random) < 0.1
    predicted = torch.where(mistaken, (labels + 1) % CLASSES, labels)
    images = torch.randint(60, (count, *SHAPE), generator=random, dtype=torch.uint8)
    images += (80 * labels).byte()[:, None, None, None]
    return Samples(features, predicted, labels, torch.arange(count), images)


def make(
    scores: Sequence[Score] = FROM_FEATURES, conditional: bool = True, max_samples: int = 200
) -> GeneratorQuality:
    """Empty sets for some scores; the real images are those of `sets`."""
    setting = Setting(SHAPE, FEATURES, CLASSES, conditional, max_samples)
    train, test = (LabelledImages(x.images, x.labels) for x in (draw(400, 1), draw(350, 2)))
    return GeneratorQuality(scores, setting, real=(train, test))


def filled(
    scores: Sequence[Score] = FROM_FEATURES, conditional: bool = True, max_samples: int = 200
) -> GeneratorQuality:
    """The same with the samples of `sets`."""
    quality = make(scores, conditional, max_samples)
    for samples, values in sets(quality):
        add(samples, values)
    return quality


def add(to: SampleSet, samples: Samples, rows: Tensor | None = None, batch: int = 50) -> None:
    """Adds some rows of the samples, or all, in batches."""
    for some in samples.numbers.split(batch) if rows is None else rows.split(batch):
        to.add(*(values[some] for values in samples))


def sets(quality: GeneratorQuality) -> list[tuple[SampleSet, Samples]]:
    """Each set with its samples; the generated ones vary too little."""
    return [
        (quality.generated, draw(300, 0, scale=0.7)),
        (quality.train_set, draw(400, 1)),
        (quality.test_set, draw(350, 2)),
    ]

"""Statistics that keep the samples with the lowest indices, ordered by index."""

from typing import NamedTuple

import torch
from torch import Tensor

from metrics.statistic import Statistic


class LabelledImages(NamedTuple):
    """Images uint8 (N, C, H, W) and their classes (N,); None for an unconditional generator."""

    images: Tensor
    labels: Tensor | None

    def to(self, device: torch.device) -> "LabelledImages":
        labels = None if self.labels is None else self.labels.to(device)
        return LabelledImages(self.images.to(device), labels)


class Bank(Statistic):
    """Keeps a sample if its index is below the number of slots N, and returns those kept.

    Every sample has a slot, 0 until it is filled, so that the sum over processes gathers them.
    """

    filled: Tensor

    def __init__(self, max_samples: int) -> None:
        super().__init__()
        self.add_sum("filled", max_samples, dtype=torch.int64)

    def keep(self, index: Tensor, **values: Tensor) -> None:
        """Keeps values (B, ...), by the name of their state, of the samples numbered index (B,)."""
        kept = index < len(self.filled)
        self.filled[index[kept]] = 1
        for name, value in values.items():
            state = getattr(self, name)
            state[index[kept]] = value[kept].to(state.dtype)


class FeatureBank(Bank):
    """Keeps features (N, D) as float64: 2.6 MB for 5,000 x 64."""

    features: Tensor

    def __init__(self, num_features: int, max_samples: int = 5000) -> None:
        super().__init__(max_samples)
        self.add_sum("features", max_samples, num_features)

    def update(self, features: Tensor, index: Tensor) -> None:
        self.keep(index, features=features)

    def compute(self) -> Tensor:
        return self.features[self.filled > 0]


class ImageBank(Bank):
    """Keeps images (N, C, H, W) and, if labelled, classes (N C H W bytes)."""

    images: Tensor
    labels: Tensor

    def __init__(
        self, max_samples: int, image_shape: tuple[int, int, int], labelled: bool = True
    ) -> None:
        super().__init__(max_samples)
        self.labelled = labelled
        self.add_sum("images", max_samples, *image_shape, dtype=torch.uint8)
        self.add_sum("labels", max_samples, dtype=torch.int64)

    def update(self, images: Tensor, labels: Tensor | None, index: Tensor) -> None:
        self.keep(index, images=images)
        if self.labelled:
            assert labels is not None
            self.keep(index, labels=labels)

    def compute(self) -> LabelledImages:
        seen = self.filled > 0
        images = self.images[seen].byte()  # the sum over processes is int64
        return LabelledImages(images, self.labels[seen] if self.labelled else None)

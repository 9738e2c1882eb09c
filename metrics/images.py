"""Images with their classes, and a statistic that keeps them."""

from typing import NamedTuple

import torch
from torch import Tensor

from metrics.statistic import Statistic


class LabelledImages(NamedTuple):
    """Images uint8 (N, C, H, W) and their classes (N,); None for an unconditional generator."""

    images: Tensor
    labels: Tensor | None

    def to(self, device: torch.device) -> "LabelledImages":
        """Moves both to a device."""
        return LabelledImages(
            self.images.to(device), None if self.labels is None else self.labels.to(device)
        )


class ImageBank(Statistic):
    """Keeps the images with the lowest indices, in the order of the indices.

    As in `FeatureBank`, every image has a slot, so that the sum over processes gathers them.
    Memory: N C H W bytes, 8 MB for 10,000 x 1 x 28 x 28.

    Args:
        max_samples: Number of slots N; an image is kept if its index is below N.
        image_shape: (C, H, W).
        labelled: Keep classes as well.
    """

    images: Tensor
    labels: Tensor
    filled: Tensor

    def __init__(
        self, max_samples: int, image_shape: tuple[int, int, int], labelled: bool = True
    ) -> None:
        super().__init__()
        self.labelled = labelled
        images = torch.zeros(max_samples, *image_shape, dtype=torch.uint8)
        self.add_state("images", images, dist_reduce_fx="sum")
        for name in ("labels", "filled"):
            zeros = torch.zeros(max_samples, dtype=torch.int64)
            self.add_state(name, zeros, dist_reduce_fx="sum")

    def update(self, images: Tensor, labels: Tensor | None, index: Tensor) -> None:
        """Keeps those of the images (B, C, H, W) whose index (B,) has a slot."""
        kept = index < len(self.filled)
        self.images[index[kept]] = images[kept]
        self.filled[index[kept]] = 1
        if self.labelled:
            assert labels is not None
            self.labels[index[kept]] = labels[kept]

    def compute(self) -> LabelledImages:
        """Returns the images seen, in the order of their indices."""
        seen = self.filled > 0
        images = self.images[seen].byte()  # the sum over processes is int64
        return LabelledImages(images, self.labels[seen] if self.labelled else None)

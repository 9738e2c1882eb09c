"""Mixes images of a training batch with each other: mixup and CutMix."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Beta

from models.distributed import all_gather, draw_local


class Mixed(NamedTuple):
    """Inputs that consist of two examples each."""

    inputs: Tensor  # (B, ...)
    targets: Tensor  # (B,), of the larger parts
    others: Tensor  # (B,), of the smaller parts
    fraction: float  # of the larger part in all inputs, at least 0.5


@dataclass(frozen=True)
class Mixing:
    """Mixes each image of a batch with another one of the global batch.

    Random numbers come from torch's global generators, for the global batch. Processes therefore
    exchange their images, 4 bytes for each pixel and channel, in each step. With both methods, each
    mixes about half of the batches, as in torchvision's recipes.

    Args:
        mixup: Weighted means of two images (Zhang et al. 2018, "mixup: Beyond empirical risk
            minimization"), with a weight from Beta(mixup, mixup) for the batch; 0: none.
        cutmix: A box of another image (Yun et al. 2019, "CutMix"), at one place for the batch, over
            a fraction from Beta(cutmix, cutmix), less what is beyond the edges; 0: none.
    """

    mixup: float = 0.0
    cutmix: float = 0.0

    def __call__(self, images: Tensor, targets: Tensor) -> Mixed:
        """Images (B, C, H, W) and their targets (B,) -> mixed ones."""
        order = draw_local(lambda shape: torch.randperm(*shape, device=images.device), len(images))
        other_images, others = all_gather(images)[order], all_gather(targets)[order]
        pastes = self.cutmix and (not self.mixup or torch.rand(()) < 0.5)
        alpha = torch.tensor(self.cutmix if pastes else self.mixup)
        fraction = Beta(alpha, alpha).sample().item()
        if pastes:
            inside = draw_box(images.shape[2], images.shape[3], 1 - fraction)
            images = torch.where(inside.to(images.device), other_images, images)
            fraction = 1 - inside.float().mean().item()
        else:
            images = torch.lerp(other_images, images, fraction)
        if fraction < 0.5:
            return Mixed(images, others, targets, 1 - fraction)
        return Mixed(images, targets, others, fraction)


def draw_box(height: int, width: int, area: float) -> Tensor:
    """Returns bool (H, W), True in a box with a fraction of the area around a random pixel."""
    half = area**0.5 / 2
    rows, columns = ((torch.arange(n) - torch.randint(n, ())) / n for n in (height, width))
    return ((rows >= -half) & (rows < half))[:, None] & (columns >= -half) & (columns < half)

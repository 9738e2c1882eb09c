"""Augmented and noisy views of real and generated images, an option of every GAN."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.augmentation import erase
from models.distributed import share_of
from runtime.ranges import NonNegative, NonNegativeFloat, Share


class View(nn.Module):
    """Differentiable augmentations and noise, for real and generated images alike.

    The generator learns through them, and its images stay free of them (Zhao et al. 2020). There is
    no mirroring, which would make other digits of digits.

    Args:
        translation: Largest move in each direction, as a share of the side; zeros move in.
        cutout: Side of a square that is set to 0, as a share of the image's shorter side.
        noise: Standard deviation of Gaussian noise at the start (Arjovsky and Bottou 2017).
        noise_steps: Steps in which the noise falls linearly to 0; 0: it stays.
    """

    def __init__(
        self,
        translation: Share = 0.0,
        cutout: Share = 0.0,
        noise: NonNegativeFloat = 0.0,
        noise_steps: NonNegative = 0,
    ) -> None:
        super().__init__()
        self.translation, self.cutout = translation, cutout
        self.noise, self.noise_steps = noise, noise_steps

    def forward(self, images: Tensor, step: int) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        if self.translation:
            images = translate(images, self.translation)
        if self.cutout:
            images = erase(images, round(self.cutout * min(images.shape[2:])))
        if deviation := self.deviation(step):
            normal = share_of(torch.randn, *images.shape, device=images.device)
            images = images + deviation * normal.to(images.dtype)
        return images

    def deviation(self, step: int) -> float:
        """Returns the noise's standard deviation in a step."""
        return (
            self.noise * max(0.0, 1 - step / self.noise_steps) if self.noise_steps else self.noise
        )


def translate(images: Tensor, share: float) -> Tensor:
    """Moves each image (B, C, H, W) by whole pixels, up to a share of its sides; zeros move in."""
    (count, _, height, width), device = images.shape, images.device
    down, right = round(share * height), round(share * width)
    draw = partial(share_of, count=count, device=device)
    rows = draw(partial(torch.randint, 2 * down + 1))[:, None] + torch.arange(height, device=device)
    columns = draw(partial(torch.randint, 2 * right + 1))[:, None]
    columns = columns + torch.arange(width, device=device)
    padded = F.pad(images, (right, right, down, down)).permute(0, 2, 3, 1)
    each = torch.arange(count, device=device)[:, None, None]
    return padded[each, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)

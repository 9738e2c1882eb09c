"""Noise on what the discriminator sees, an option of every GAN."""

import torch
from torch import Tensor, nn

from models.distributed import draw_local
from runtime.ranges import NonNegative, NonNegativeFloat


class InstanceNoise(nn.Module):
    """Gaussian noise on real and generated images alike (Arjovsky and Bottou 2017).

    The generator learns through it, and its images stay free of it.

    Args:
        noise: Standard deviation at the start.
        noise_steps: Steps in which it falls linearly to 0; 0: it stays.
    """

    def __init__(self, noise: NonNegativeFloat = 0.1, noise_steps: NonNegative = 0) -> None:
        super().__init__()
        self.noise, self.noise_steps = noise, noise_steps

    def forward(self, images: Tensor, step: int) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        if not (deviation := self.deviation(step)):
            return images
        normal = draw_local(torch.randn, *images.shape, device=images.device)
        return images + deviation * normal.to(images.dtype)

    def deviation(self, step: int) -> float:
        """Returns the noise's standard deviation in a step."""
        left = max(0.0, 1 - step / self.noise_steps) if self.noise_steps else 1.0
        return self.noise * left

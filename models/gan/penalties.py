"""Gradient penalties: how steep the discriminator may be."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from models.distributed import share_of
from models.gan.discriminator import Examples
from models.layers import full_precision
from runtime.ranges import NonNegativeFloat, Positive

Realness = Callable[[Tensor, Tensor | None], Tensor]  # images (B, C, H, W), labels -> logits (B,)


@dataclass(frozen=True)
class Penalties:
    """Weights of a discriminator's gradient penalties; 0: none.

    Args:
        r1: Weight gamma of R1, on real images.
        r2: Weight gamma of R2, R1 on generated images.
        every: Batches from one R1 and R2 to the next; they are multiplied by this.
        gradient_penalty: Weight of the penalty of WGAN-GP, in every batch.
    """

    r1: NonNegativeFloat = 0.0
    r2: NonNegativeFloat = 0.0
    every: Positive = 8
    gradient_penalty: NonNegativeFloat = 0.0

    def of(self, realness: Realness, real: Examples, fake: Examples, step: int) -> Tensor | float:
        """Computes the sum of the penalties that are due in a step."""
        found: Tensor | float = 0.0
        if step % self.every == 0:
            for gamma, (images, labels) in ((self.r1, real), (self.r2, fake)):
                if gamma:
                    images = images.detach().requires_grad_()
                    penalty = squared_slope(realness(images, labels), images)
                    found = found + gamma / 2 * self.every * penalty
        if self.gradient_penalty:
            shares = share_of(torch.rand, len(real[0]), device=real[0].device)
            images = between(real[0], fake[0], shares).requires_grad_()
            penalty = distance_from_slope_one(realness(images, real[1]), images)
            found = found + self.gradient_penalty * penalty
        return found


def squared_slope(logits: Tensor, images: Tensor) -> Tensor:
    """Mean squared gradient norm of D at images (B, C, H, W) that require grad.

    R1 (real images) and R2 (generated ones) of Mescheder et al. 2018, equation 9, without the
    factor gamma / 2.
    """
    return _gradients(logits, images).square().sum(dim=1).mean()


def distance_from_slope_one(logits: Tensor, images: Tensor) -> Tensor:
    """Mean of (norm of D's gradient - 1)^2: Gulrajani et al. 2017, equation 3, without lambda."""
    return (_gradients(logits, images).norm(dim=1) - 1).square().mean()


def between(real: Tensor, fake: Tensor, shares: Tensor) -> Tensor:
    """Returns images on the lines from fake to real, both (B, ...), at shares (B,)."""
    shares = shares.to(fake.dtype).view(-1, *[1] * (fake.dim() - 1))
    return torch.lerp(fake.detach(), real.to(fake.dtype), shares)


def _gradients(logits: Tensor, images: Tensor) -> Tensor:
    (gradients,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return full_precision(gradients).flatten(1)

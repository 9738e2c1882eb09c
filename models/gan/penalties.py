"""Gradient penalties of the discriminator."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from models.gan.discriminator import Examples
from models.layers import full_precision
from runtime.ranges import NonNegativeFloat, Positive


@dataclass(frozen=True)
class Penalties:
    """Weights of a discriminator's gradient penalties; 0: none.

    Args:
        r1: Weight gamma of R1, on real images.
        r2: Weight gamma of R2, R1 on generated images.
        every: Compute R1 and R2 once in this many batches, with their weight times this number.
    """

    r1: NonNegativeFloat = 0.0
    r2: NonNegativeFloat = 0.0
    every: Positive = 8

    def due(
        self,
        compute_realness: Callable[[Tensor, Tensor | None], Tensor],
        real: Examples,
        fake: Examples,
        step: int,
    ) -> Tensor | float:
        """Computes the sum of the penalties that are due in a step, by D's `compute_realness`."""
        total: Tensor | float = 0.0
        if step % self.every:
            return total
        for gamma, (images, labels) in ((self.r1, real), (self.r2, fake)):
            if gamma:
                images = images.detach().requires_grad_()
                with torch.compiler.set_stance("force_eager"):  # no second derivative otherwise
                    penalty = squared_slope(compute_realness(images, labels), images)
                total = total + gamma / 2 * self.every * penalty
        return total


def squared_slope(realness: Tensor, images: Tensor) -> Tensor:
    """Mean squared gradient norm of D at images (B, C, H, W) that require grad.

    R1 (real images) and R2 (generated ones) of Mescheder et al. 2018, equation 9, without the
    factor gamma / 2.
    """
    (gradients,) = torch.autograd.grad(realness.sum(), images, create_graph=True)
    return full_precision(gradients).flatten(1).square().sum(dim=1).mean()

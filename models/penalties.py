"""Gradient penalties: how steep the discriminator may be."""

from collections.abc import Callable

import torch
from torch import Tensor

from models.distributed import share_of

Realness = Callable[[Tensor, Tensor | None], Tensor]  # images (B, C, H, W), labels -> logits (B,)


class Penalties:
    """The gradient penalties of one discriminator.

    Args:
        r1: Weight gamma of R1, on real images.
        r2: Weight gamma of R2, on generated images.
        every: Batches from one R1 and R2 to the next; they are multiplied by this ("lazy").
        wasserstein: Weight of the penalty of WGAN-GP, in every batch.
    """

    def __init__(self, r1: float, r2: float, every: int, wasserstein: float) -> None:
        self.r1, self.r2, self.every, self.wasserstein = r1, r2, every, wasserstein

    def __call__(
        self,
        realness: Realness,
        real: Tensor,
        real_labels: Tensor | None,
        fake: Tensor,
        fake_labels: Tensor | None,
        step: int,
    ) -> Tensor | float:
        """Computes the sum of the penalties that are due in a step."""
        found: Tensor | float = 0.0
        if step % self.every == 0:
            for gamma, images, labels in (
                (self.r1, real, real_labels),
                (self.r2, fake, fake_labels),
            ):
                if gamma:
                    images = images.detach().requires_grad_()
                    penalty = squared_slope(realness(images, labels), images)
                    found = found + gamma / 2 * self.every * penalty
        if self.wasserstein:
            shares = share_of(torch.rand, len(real), device=real.device)
            images = between(real, fake, shares).requires_grad_()
            found = found + self.wasserstein * distance_from_slope_one(
                realness(images, real_labels), images
            )
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
    """Returns images on the lines from fake to real, both (B, C, H, W), at shares (B,)."""
    return torch.lerp(fake.detach(), real.to(fake.dtype), shares.view(-1, 1, 1, 1).to(fake.dtype))


def _gradients(logits: Tensor, images: Tensor) -> Tensor:
    (gradients,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradients.float().flatten(1)

"""Losses as pure functions of logits."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class AdversarialLoss(NamedTuple):
    """The two sides of one game, each a function of logits (B,) that returns a scalar."""

    discriminator: Callable[[Tensor, Tensor, float], Tensor]
    generator: Callable[[Tensor], Tensor]


def non_saturating_discriminator(real: Tensor, fake: Tensor, smoothing: float = 0.0) -> Tensor:
    """Binary cross-entropy over a batch of real (1) and fake (0) images.

    Goodfellow et al. 2014, eq. 1, as the mean over both halves; `smoothing` lowers the target of
    real images to 1 - smoothing (one-sided, Salimans et al. 2016, section 3.4).
    """
    real_loss = F.softplus(-real) + smoothing * real  # = BCE(sigmoid(real), 1 - smoothing)
    return (real_loss.mean() + F.softplus(fake).mean()) / 2


def non_saturating_generator(fake: Tensor) -> Tensor:
    """-log D(G(z)): the generator's loss with a gradient where D is sure (ibid., section 3)."""
    return F.softplus(-fake).mean()


LossName = Literal["non_saturating"]
ADVERSARIAL_LOSSES: dict[str, AdversarialLoss] = {
    "non_saturating": AdversarialLoss(non_saturating_discriminator, non_saturating_generator),
}


def normalized_sigmoid_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """-log p[target] with p = sigmoid(logits) / sum(sigmoid(logits)); logits (B, C), target (B,).

    What Keras computes for a sigmoid output layer under `categorical_crossentropy`.
    """
    log_sigmoid = F.logsigmoid(logits)
    log_probability = log_sigmoid - log_sigmoid.logsumexp(dim=1, keepdim=True)
    return F.nll_loss(log_probability, target)


def r1_penalty(real_logits: Tensor, real_images: Tensor) -> Tensor:
    """Mean squared gradient norm of D at real images, (B, C, H, W) that require grad.

    R1 of Mescheder et al. 2018, eq. 9, without its factor gamma / 2.
    """
    (gradient,) = torch.autograd.grad(real_logits.sum(), real_images, create_graph=True)
    return gradient.float().square().sum(dim=(1, 2, 3)).mean()

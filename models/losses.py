"""Losses of GANs, each a function of logits. An adversarial loss is one class here."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from runtime.ranges import Share


class AdversarialLoss(ABC):
    """The two sides of one game. All arguments are logits (B,), all results scalars."""

    @abstractmethod
    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Computes the discriminator's loss on real and fake images."""

    @abstractmethod
    def generator(self, fake: Tensor) -> Tensor:
        """Computes the generator's loss."""

    @abstractmethod
    def evaluation(self, real: Tensor) -> Tensor:
        """Computes the discriminator's loss on real images alone, for validation and test."""


LossCallable = Callable[[], AdversarialLoss]


class NonSaturating(AdversarialLoss):
    """Binary cross-entropy of real (1) and fake (0) images (Goodfellow et al. 2014).

    Args:
        label_smoothing: 1 minus the target of real images (one-sided, Salimans et al. 2016, 3.4).
    """

    def __init__(self, label_smoothing: Share = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Equation 1, as the mean over both halves."""
        # = BCE(sigmoid(real), 1 - label_smoothing)
        real_loss = F.softplus(-real) + self.label_smoothing * real
        return (real_loss.mean() + F.softplus(fake).mean()) / 2

    def generator(self, fake: Tensor) -> Tensor:
        """-log D(G(z)), which has a gradient where D is certain (section 3)."""
        return F.softplus(-fake).mean()

    def evaluation(self, real: Tensor) -> Tensor:
        """-log D(x), as the slides print it."""
        return F.softplus(-real).mean()


def normalized_sigmoid_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """-log p[target] with p = sigmoid(logits) / sum(sigmoid(logits)); logits (B, C), target (B,).

    Equals Keras' `categorical_crossentropy` after a sigmoid output layer.
    """
    log_sigmoid = F.logsigmoid(logits)
    log_probability = log_sigmoid - log_sigmoid.logsumexp(dim=1, keepdim=True)
    return F.nll_loss(log_probability, target)


def r1_penalty(real_logits: Tensor, real_images: Tensor) -> Tensor:
    """Mean squared gradient norm of D at real images, (B, C, H, W) that require grad.

    R1 of Mescheder et al. 2018, equation 9, without its factor gamma / 2.
    """
    (gradient,) = torch.autograd.grad(real_logits.sum(), real_images, create_graph=True)
    return gradient.float().square().sum(dim=(1, 2, 3)).mean()

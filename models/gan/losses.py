"""Adversarial losses, each one class of functions of logits."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from runtime.ranges import Share


class AdversarialLoss(ABC):
    """The two sides of one game. All arguments are logits (B,), all results scalars.

    Logits above `threshold` mean "real".
    """

    threshold = 0.0
    pairs = False  # `generator(fake, real)`

    @abstractmethod
    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Computes the discriminator's loss on real and fake images."""

    @abstractmethod
    def generator(self, fake: Tensor) -> Tensor:
        """Computes the generator's loss; a loss that `pairs` gets the logits of real images too."""

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


class Minimax(NonSaturating):
    """The same game with the generator's loss of its theory, log(1 - D(G(z))) (section 3).

    Where D is certain, its gradient vanishes.
    """

    def generator(self, fake: Tensor) -> Tensor:
        return -F.softplus(fake).mean()


class LeastSquares(AdversarialLoss):
    """Squared distance to 1 (real) and 0 (fake): Mao et al. 2017, equation 9."""

    threshold = 0.5

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return ((real - 1).square().mean() + fake.square().mean()) / 2

    def generator(self, fake: Tensor) -> Tensor:
        return (fake - 1).square().mean() / 2

    def evaluation(self, real: Tensor) -> Tensor:
        return (real - 1).square().mean() / 2


class Hinge(AdversarialLoss):
    """D learns only from images within its margin of 1 (Lim and Ye 2017; Miyato et al. 2018)."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()

    def generator(self, fake: Tensor) -> Tensor:
        return -fake.mean()

    def evaluation(self, real: Tensor) -> Tensor:
        return F.relu(1 - real).mean()


class Wasserstein(AdversarialLoss):
    """Difference of the means (Arjovsky et al. 2017). Use it with
    `model.penalties.gradient_penalty` 10.

    Only differences of its logits have a meaning, so the accuracies that are logged have none.
    """

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return fake.mean() - real.mean()

    def generator(self, fake: Tensor) -> Tensor:
        return -fake.mean()

    def evaluation(self, real: Tensor) -> Tensor:
        return -real.mean()


class Relativistic(AdversarialLoss):
    """Each real image against one fake image (Jolicoeur-Martineau 2019; Huang et al. 2024, 2.1).

    Use it with `model.penalties.r1` and `model.penalties.r2`. Only differences of its logits have a
    meaning, so the accuracies that are logged have none.
    """

    pairs = True

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.softplus(fake - real).mean()

    def generator(self, fake: Tensor, real: Tensor) -> Tensor:  # type: ignore[override]
        return F.softplus(real - fake).mean()

    def evaluation(self, real: Tensor) -> Tensor:
        """As if each image met one whose logit is 0."""
        return F.softplus(-real).mean()

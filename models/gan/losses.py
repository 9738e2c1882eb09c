"""Adversarial losses beside the one of `models/gan/discriminator.py`."""

import torch.nn.functional as F
from torch import Tensor

from models.gan.discriminator import AdversarialLoss, NonSaturating


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

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

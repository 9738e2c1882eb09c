"""Adversarial losses beside the one of `models/gan/discriminator.py`."""

import torch.nn.functional as F
from torch import Tensor

from models.gan.discriminator import AdversarialLoss, NonSaturating


class Minimax(NonSaturating):
    """Goodfellow et al. 2014 with the generator's original loss, log(1 - D(G(z))) (section 3).

    Its gradient vanishes if D is certain.
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
        """Pairs each image with a logit of 0."""
        return F.softplus(-real).mean()

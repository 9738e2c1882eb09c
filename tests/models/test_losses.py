"""The losses in closed form."""

import math

import torch
from torch.nn import functional as F

from models.gan.discriminator import NonSaturating
from models.gan.losses import Minimax, Relativistic

REAL, FAKE = torch.tensor([2.0, -1.0]), torch.tensor([-3.0, 0.5])


def test_discriminator_loss_is_cross_entropy_over_both_halves():
    real, fake = torch.tensor([0.3, -2.0, 40.0]), torch.tensor([-1.0, 0.0, 3.0])
    logits = torch.cat([real, fake])
    for smoothing in (0.0, 0.1):
        target = torch.tensor([1 - smoothing] * 3 + [0.0] * 3)
        expected = F.binary_cross_entropy_with_logits(logits, target)
        torch.testing.assert_close(NonSaturating(smoothing).discriminator(real, fake), expected)


def test_an_undecided_discriminator_costs_log_two():
    zeros = torch.zeros(4)
    log_two = torch.tensor(math.log(2))
    torch.testing.assert_close(NonSaturating().discriminator(zeros, zeros), log_two)
    torch.testing.assert_close(NonSaturating().generator(zeros), log_two)
    torch.testing.assert_close(NonSaturating(0.1).evaluation(zeros), log_two)


def mean(*values: float) -> torch.Tensor:
    return torch.tensor(sum(values) / len(values))


def softplus(value: float) -> float:
    return math.log1p(math.exp(value))


def test_minimax_is_the_value_of_the_game():
    """D and G share log(1 - D(G(z))), with opposite signs."""
    expected = mean(-softplus(-3.0), -softplus(0.5))
    torch.testing.assert_close(Minimax().generator(FAKE), expected)


def test_relativistic_compares_pairs_and_ignores_what_both_share():
    loss = Relativistic()
    expected = mean(softplus(-5.0), softplus(1.5))
    torch.testing.assert_close(loss.discriminator(REAL, FAKE), expected)
    torch.testing.assert_close(loss.discriminator(REAL + 7, FAKE + 7), expected)
    torch.testing.assert_close(loss.generator(FAKE, REAL), mean(softplus(5.0), softplus(-1.5)))
    torch.testing.assert_close(loss.evaluation(torch.zeros(3)), torch.tensor(math.log(2)))

"""The losses in closed form."""

import math

import torch
from torch.nn import functional as F

from models.gan.lecture import normalized_sigmoid_cross_entropy
from models.gan.losses import (
    Hinge,
    LeastSquares,
    Minimax,
    NonSaturating,
    Relativistic,
    Wasserstein,
)

REAL, FAKE = torch.tensor([2.0, -1.0]), torch.tensor([-3.0, 0.5])


def test_discriminator_loss_is_cross_entropy_over_both_halves() -> None:
    real, fake = torch.tensor([0.3, -2.0, 40.0]), torch.tensor([-1.0, 0.0, 3.0])
    logits = torch.cat([real, fake])
    for smoothing in (0.0, 0.1):
        target = torch.tensor([1 - smoothing] * 3 + [0.0] * 3)
        expected = F.binary_cross_entropy_with_logits(logits, target)
        torch.testing.assert_close(NonSaturating(smoothing).discriminator(real, fake), expected)


def test_an_undecided_discriminator_costs_log_two() -> None:
    zeros = torch.zeros(4)
    log_two = torch.tensor(math.log(2))
    torch.testing.assert_close(NonSaturating().discriminator(zeros, zeros), log_two)
    torch.testing.assert_close(NonSaturating().generator(zeros), log_two)
    torch.testing.assert_close(NonSaturating(0.1).evaluation(zeros), log_two)


def test_generator_loss_keeps_a_gradient_where_the_discriminator_is_sure() -> None:
    logit = torch.tensor([-30.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(NonSaturating().generator(logit), logit)
    torch.testing.assert_close(gradient, torch.tensor([-1.0]))


def test_normalized_sigmoid_is_what_keras_computes() -> None:
    logits = torch.tensor([[0.5, -1.0, 2.0], [3.0, 0.0, -4.0]], dtype=torch.float64)
    target = torch.tensor([2, 1])
    probability = logits.sigmoid() / logits.sigmoid().sum(dim=1, keepdim=True)
    expected = -(probability[0, 2].log() + probability[1, 1].log()) / 2
    torch.testing.assert_close(normalized_sigmoid_cross_entropy(logits, target), expected)


def mean(*values: float) -> torch.Tensor:
    return torch.tensor(sum(values) / len(values))


def softplus(value: float) -> float:
    return math.log1p(math.exp(value))


def test_minimax_is_the_value_of_the_game() -> None:
    """D and G share log(1 - D(G(z))), with opposite signs."""
    expected = mean(-softplus(-3.0), -softplus(0.5))
    torch.testing.assert_close(Minimax().generator(FAKE), expected)
    torch.testing.assert_close(
        Minimax().discriminator(REAL, FAKE), NonSaturating().discriminator(REAL, FAKE)
    )
    logit = torch.tensor([-30.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(Minimax().generator(logit), logit)
    assert gradient.abs() < 1e-12  # it vanishes where D is certain


def test_least_squares_is_half_the_squared_distance_to_the_labels() -> None:
    loss = LeastSquares()
    torch.testing.assert_close(
        loss.discriminator(REAL, FAKE), mean(1.0, 4.0) / 2 + mean(9.0, 0.25) / 2
    )
    torch.testing.assert_close(loss.generator(FAKE), mean(16.0, 0.25) / 2)
    torch.testing.assert_close(loss.evaluation(REAL), mean(1.0, 4.0) / 2)


def test_hinge_ignores_images_beyond_the_margin() -> None:
    torch.testing.assert_close(Hinge().discriminator(REAL, FAKE), mean(0.0, 2.0) + mean(0.0, 1.5))
    torch.testing.assert_close(Hinge().generator(FAKE), mean(3.0, -0.5))
    torch.testing.assert_close(Hinge().evaluation(REAL), mean(0.0, 2.0))


def test_wasserstein_is_the_difference_of_means() -> None:
    torch.testing.assert_close(Wasserstein().discriminator(REAL, FAKE), torch.tensor(-1.75))
    torch.testing.assert_close(Wasserstein().generator(FAKE), torch.tensor(1.25))
    torch.testing.assert_close(Wasserstein().evaluation(REAL), torch.tensor(-0.5))


def test_relativistic_compares_pairs_and_ignores_what_both_share() -> None:
    loss = Relativistic()
    expected = mean(softplus(-5.0), softplus(1.5))
    torch.testing.assert_close(loss.discriminator(REAL, FAKE), expected)
    torch.testing.assert_close(loss.discriminator(REAL + 7, FAKE + 7), expected)
    torch.testing.assert_close(loss.generator(FAKE, REAL), mean(softplus(5.0), softplus(-1.5)))
    torch.testing.assert_close(loss.evaluation(torch.zeros(3)), torch.tensor(math.log(2)))

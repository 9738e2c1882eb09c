"""The losses in closed form."""

import math

import torch
from torch.nn import functional as F

from models.losses import NonSaturating, normalized_sigmoid_cross_entropy, r1_penalty


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


def test_r1_of_a_linear_discriminator_is_its_squared_weight() -> None:
    weight = torch.randn(1, 4, 4)
    images = torch.rand(5, 1, 4, 4, requires_grad=True)
    logits = (weight * images).sum(dim=(1, 2, 3))
    torch.testing.assert_close(r1_penalty(logits, images), weight.square().sum())

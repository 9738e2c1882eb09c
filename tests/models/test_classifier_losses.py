"""Losses of classifiers in closed form."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from models.classifier import (
    CLASSIFIER_LOSSES,
    KERAS_NAMES,
)

LOGITS = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]], dtype=torch.float64)
TARGET = torch.tensor([2, 1])


def keras_losses(p: Tensor, onehot: Tensor) -> dict[str, Tensor]:
    return {
        "cross_entropy": -(onehot * p.log()).sum(dim=1).mean(),
        "mse": (p - onehot).square().mean(),
        "bce": -(onehot * p.log() + (1 - onehot) * (1 - p).log()).mean(),
    }


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("name", CLASSIFIER_LOSSES)
def test_loss_is_keras_formula_on_probabilities(name: str, smoothing: float) -> None:
    onehot = torch.eye(3, dtype=torch.float64)[TARGET]
    onehot = onehot * (1 - smoothing) + smoothing / 3
    sigmoid = KERAS_NAMES.get(name, name) == "bce"
    p = LOGITS.sigmoid() if sigmoid else LOGITS.exp() / LOGITS.exp().sum(1, keepdim=True)
    found = CLASSIFIER_LOSSES[name].loss(LOGITS, TARGET, smoothing)
    assert_close(found, keras_losses(p, onehot)[KERAS_NAMES.get(name, name)])


@pytest.mark.parametrize("name", CLASSIFIER_LOSSES)
def test_one_logit_is_the_logit_of_class_1(name: str) -> None:
    logits, target = torch.tensor([[2.0], [-1.0]]), torch.tensor([1, 0])
    probabilities = CLASSIFIER_LOSSES[name].probabilities(logits)
    right = torch.tensor([1 / (1 + math.exp(-2)), 1 / (1 + math.exp(-1))])
    assert_close(probabilities[[0, 1], target], right)
    assert_close(probabilities.sum(dim=1), torch.ones(2))
    squares = KERAS_NAMES.get(name, name) == "mse"
    expected = (1 - right).square().mean() if squares else -right.log().mean()
    assert_close(CLASSIFIER_LOSSES[name].loss(logits, target, 0.0), expected)


@pytest.mark.parametrize("name", CLASSIFIER_LOSSES)
def test_large_logits_give_finite_losses_and_gradients(name: str) -> None:
    logits = torch.tensor([[500.0, -500.0, 0.0]], requires_grad=True)
    loss = CLASSIFIER_LOSSES[name].loss(logits, torch.tensor([1]), 0.0)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()

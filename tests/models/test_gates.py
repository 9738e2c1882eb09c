"""Gates: what one logistic unit can do, what it cannot, and what two hidden units can."""

from typing import Any

import pytest
import torch
from lightning import seed_everything
from torch.nn import functional as F

from datamodules import Gates
from models import GateLogistic, GateMLP
from tests.models.classifiers import count_parameters, fit

POINTS = torch.cartesian_prod(torch.arange(2.0), torch.arange(2.0))  # 00, 01, 10, 11
TRUTH = {"or": [0, 1, 1, 1], "and": [0, 0, 0, 1], "xor": [0, 1, 1, 0], "xnor": [1, 0, 0, 1]}


def accuracy(model: Any, gate: str) -> float:
    with torch.no_grad():
        ones = model.eval()(POINTS)[:, 0] > 0
    return (ones == torch.tensor(TRUTH[gate]).bool()).float().mean().item()


def train(model: Any, gate: str, steps: int = 80) -> float:
    fit(model, Gates(gate=gate), max_epochs=steps, limit_val_batches=0)
    return accuracy(model, gate)


@pytest.mark.parametrize("gate", ["or", "and"])
def test_logistic_regression_learns_or_and_and(gate):
    seed_everything(0, verbose=False)
    model = GateLogistic()
    assert count_parameters(model.network) == 3
    assert train(model, gate) == 1.0


def test_a_gate_learns_by_binary_cross_entropy():
    model, targets = GateLogistic(), torch.tensor(TRUTH["and"])
    expected = F.binary_cross_entropy_with_logits(model(POINTS)[:, 0], targets.float())
    torch.testing.assert_close(model.step((POINTS, targets))["loss"], expected)


@pytest.mark.parametrize("gate", ["xor", "xnor"])
def test_no_logistic_unit_gets_more_than_three_of_four(gate):
    seed_everything(0, verbose=False)
    assert train(GateLogistic(), gate) <= 0.75
    # Nor do any weights: w . x + b above 0 at two opposite corners sums to w1 + w2 + 2 b > 0, and
    # not above 0 at the other two to w1 + w2 + 2 b <= 0.
    weights = torch.randn(200_000, 3, generator=torch.Generator().manual_seed(0))
    ones = weights[:, :2] @ POINTS.T + weights[:, 2:] > 0
    right = ones == torch.tensor(TRUTH[gate]).bool()
    assert right.float().mean(dim=1).max() == 0.75


@pytest.mark.parametrize("gate", ["xor", "xnor"])
@pytest.mark.parametrize("seed", range(3))
def test_two_hidden_units_learn_xor(gate, seed):
    seed_everything(seed, verbose=False)
    assert train(GateMLP(), gate) == 1.0


@pytest.mark.parametrize("gate", ["xor", "xnor"])
def test_weights_by_hand_compute_the_gate(gate):
    model = GateMLP.by_hand(gate)
    assert accuracy(model, gate) == 1.0
    probabilities = model.probabilities(POINTS)[:, 1]
    assert (probabilities - torch.tensor(TRUTH[gate])).abs().max() < 0.01

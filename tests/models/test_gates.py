"""Gates: what one logistic unit can do, what it cannot, and what two hidden units can."""

from typing import Any

import pytest
import torch
from lightning import seed_everything
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, silu
from torch.testing import assert_close

from datamodules import Gates
from models import GateLogistic, GateMLP
from tests.models.classifiers import count_parameters, fit

POINTS = torch.cartesian_prod(torch.arange(2.0), torch.arange(2.0))  # 00, 01, 10, 11
TRUTH = {"or": [0, 1, 1, 1], "and": [0, 0, 0, 1], "xor": [0, 1, 1, 0], "xnor": [1, 0, 0, 1]}


def accuracy(model: Any, gate: str) -> float:
    with torch.no_grad():
        ones = model.eval()(POINTS)[:, 0] > 0
    return (ones == torch.tensor(TRUTH[gate]).bool()).float().mean().item()


def train(model: Any, gate: str, steps: int = 200) -> float:
    fit(model, Gates(gate=gate), max_epochs=steps, limit_val_batches=0)
    return accuracy(model, gate)


@pytest.mark.parametrize("gate", ["or", "and"])
def test_logistic_regression_learns_or_and_and(gate: str) -> None:
    seed_everything(0, verbose=False)
    model = GateLogistic()
    assert count_parameters(model.network) == 3
    assert train(model, gate) == 1.0


@pytest.mark.parametrize("gate", ["xor", "xnor"])
def test_no_logistic_unit_gets_more_than_three_of_four(gate: str) -> None:
    seed_everything(0, verbose=False)
    assert train(GateLogistic(), gate) <= 0.75
    # Nor do any weights: w . x + b above 0 at two opposite corners sums to w1 + w2 + 2 b > 0, and
    # not above 0 at the other two to w1 + w2 + 2 b <= 0.
    weights = torch.randn(200_000, 3, generator=torch.Generator().manual_seed(0))
    ones = weights[:, :2] @ POINTS.T + weights[:, 2:] > 0
    assert shares(ones.float() - 0.5, gate).max() == 0.75


def train_many(start: list[Tensor], gate: str, steps: int) -> Tensor:
    """Trains a stack of networks, (S, ...) each parameter, as Adam trains each; logits (S, 4)."""
    parameters = [p.clone().requires_grad_() for p in start]
    target = torch.tensor(TRUTH[gate], dtype=torch.float32).expand(len(start[0]), 4)
    optimizer = torch.optim.Adam(parameters, lr=0.1)

    def logits() -> Tensor:
        values = POINTS.expand(len(start[0]), 4, 2)
        for i in range(0, len(parameters), 2):
            values = silu(values) if i else values
            values = values @ parameters[i].mT + parameters[i + 1][:, None]
        return values[..., 0]

    for _ in range(steps):
        loss = binary_cross_entropy_with_logits(logits(), target, reduction="none")
        optimizer.zero_grad()
        loss.mean(dim=1).sum().backward()
        optimizer.step()
    return logits().detach()


def shares(logits: Tensor, gate: str) -> Tensor:
    """Accuracies (S,) of logits (S, 4)."""
    return ((logits > 0) == torch.tensor(TRUTH[gate]).bool()).float().mean(dim=1)


def starts(model: type, seeds: int) -> list[Tensor]:
    """The parameters of the models of many seeds, stacked."""
    made = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        made.append([p.detach() for p in model().network.parameters()])
    return [torch.stack(group) for group in zip(*made, strict=True)]


@pytest.mark.parametrize("gate", ["xor", "xnor"])
def test_xor_is_learnt_from_all_of_100_starts_but_never_by_one_unit(gate: str) -> None:
    assert shares(train_many(starts(GateMLP, 100), gate, 200), gate).min() == 1.0
    assert shares(train_many(starts(GateLogistic, 100), gate, 200), gate).max() <= 0.75


@pytest.mark.parametrize("gate", ["xor", "xnor"])
def test_weights_by_hand_compute_the_gate(gate: Any) -> None:
    model = GateMLP.by_hand(gate)
    assert accuracy(model, gate) == 1.0
    probabilities = model.probabilities(POINTS)[:, 1]
    assert (probabilities - torch.tensor(TRUTH[gate])).abs().max() < 0.01


def test_the_slides_sum_is_one_everywhere_and_a_shifted_one_is_xnor() -> None:
    total = POINTS.sum(dim=1)
    slides = torch.sigmoid(2 * total - 1) + torch.sigmoid(-2 * total + 1)
    assert_close(slides, torch.ones(4))
    # "1 if both inputs are the same": one curve turns on at (0, 0), the other at (1, 1)
    mended = torch.sigmoid(10 * (1 - 2 * total)) + torch.sigmoid(10 * (2 * total - 3))
    assert (mended - torch.tensor(TRUTH["xnor"])).abs().max() < 0.01

"""`demo` builds a gate's network from the values of sliders."""

import math

import pytest
import torch

from callbacks.function_fit import probability_surface
from commands.demo.gate import (
    KINDS,
    LIMIT,
    WEIGHTS,
    by_hand,
    network,
    surface,
    truth_table,
    weights_of,
)
from datamodules.gates import GATES


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize("gate", GATES)
def test_weights_by_hand_compute_the_gate(gate: str) -> None:
    solution = by_hand(gate)  # type: ignore[arg-type]
    assert solution.kind == (KINDS[0] if gate in ("or", "and") else KINDS[1])
    assert len(solution.weights) == len(WEIGHTS[solution.kind])
    assert max(map(abs, solution.weights)) <= LIMIT
    rows = truth_table(network(solution.kind, solution.weights), solution.gate)
    assert [row.wanted for row in rows] == [*GATES[gate]]
    assert [row.inputs for row in rows] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert all(row.is_right for row in rows)


def test_one_unit_gets_at_most_three_points_of_xor_right() -> None:
    values = (-10.0, -5.0, 0.0, 5.0, 10.0)
    tables = [
        truth_table(network(KINDS[0], (w1, w2, b)), "xor")
        for w1 in values
        for w2 in values
        for b in values
    ]
    assert max(sum(row.is_right for row in rows) for rows in tables) == 3


def test_the_sliders_of_one_unit_are_its_weights() -> None:
    """P(1) = sigma(w1 x1 + w2 x2 + b)."""
    model = network(KINDS[0], (1.0, 2.0, -0.5, 9.0, 9.0))  # the rest belongs to other sliders
    outputs = [row.output for row in truth_table(model, "or")]
    assert outputs == pytest.approx([sigmoid(x) for x in (-0.5, 1.5, 0.5, 2.5)])
    assert weights_of(model) == [1.0, 2.0, -0.5]


def test_the_sliders_of_two_units_are_their_weights() -> None:
    """P(1) = sigma(w1 h1 + w2 h2 + b), h = sigma(u x + c), in the order of their names."""
    names = WEIGHTS[KINDS[1]]
    v = dict(zip(names, (1.0, -2.0, 3.0, 0.5, -1.0, 2.0, 1.5, -2.5, 0.7), strict=True))
    outputs = [row.output for row in truth_table(network(KINDS[1], [*v.values()]), "xor")]
    for (x1, x2), output in zip([(0, 0), (0, 1), (1, 0), (1, 1)], outputs, strict=True):
        h1 = sigmoid(v["u11"] * x1 + v["u12"] * x2 + v["c1"])
        h2 = sigmoid(v["u21"] * x1 + v["u22"] * x2 + v["c2"])
        assert output == pytest.approx(sigmoid(v["w1"] * h1 + v["w2"] * h2 + v["b"]))


def test_the_surface_follows_the_weights() -> None:
    axis = torch.tensor([0.0, 1.0])
    model = network(KINDS[0], (10.0, 0.0, -5.0))  # x1 alone; rows are x2
    expected = [[sigmoid(-5), sigmoid(5)]] * 2
    assert probability_surface(model, axis).tolist() == [pytest.approx(row) for row in expected]
    titles = [
        surface(network(KINDS[0], w), "or").axes[0].get_title() for w in [(9, 9, -4), (0, 0, 0)]
    ]
    assert titles == ["OR: 0.5 along the black line", "OR: undecided, P(1) is 0.50 everywhere"]

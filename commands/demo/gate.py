"""Computations of `demo` for a logic gate: the network with the sliders' weights, its surface."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, cast

import torch
from matplotlib.figure import Figure
from torch import nn

from callbacks.function_fit import probability_surface
from datamodules.gates import GATES, Gates
from figures.functions import draw_surface
from models.classifier import Classifier
from models.gates import GateLogistic, GateMLP
from models.networks import FeedForward

Gate = Literal["or", "and", "xor", "xnor"]
KINDS = ("one unit", "two hidden units")
WEIGHTS = {  # names of the sliders, in the order of the network's parameters
    "one unit": ("w1", "w2", "b"),
    "two hidden units": ("u11", "u12", "u21", "u22", "c1", "c2", "w1", "w2", "b"),
}
LIMIT = 20.0  # of a slider
SHARPNESS = 5.0  # of the weights by hand, which reach 15
MARGIN, RESOLUTION = 0.5, 101


class Solution(NamedTuple):
    """A gate, a network and its weights."""

    gate: Gate
    kind: str
    weights: tuple[float, ...]


def by_hand(gate: Gate) -> Solution:
    """Returns weights that compute a gate: of one unit if that suffices."""
    k = 2 * SHARPNESS
    if gate in ("or", "and"):
        return Solution(gate, KINDS[0], (k, k, -k / 2 if gate == "or" else -1.5 * k))
    model = GateMLP.by_hand(cast(Literal["xor", "xnor"], gate), SHARPNESS)
    return Solution(gate, KINDS[1], tuple(weights_of(model)))


def weights_of(model: Classifier) -> list[float]:
    """Returns the parameters of a gate's network in the order of the sliders."""
    return nn.utils.parameters_to_vector(model.network.parameters()).tolist()


def network(kind: str, weights: Sequence[float]) -> Classifier:
    """Builds a gate's network with these weights; hidden units are the lecture's sigmoids."""
    if kind == KINDS[0]:
        model: Classifier = GateLogistic()
    else:
        model = GateMLP(lambda shape, outputs: FeedForward(shape, outputs, 2, "sigmoid"))
    values = torch.tensor([*weights][: len(WEIGHTS[kind])], dtype=torch.float32)
    nn.utils.vector_to_parameters(values, model.network.parameters())
    return model


class Row(NamedTuple):
    """A row of the truth table."""

    inputs: tuple[int, int]
    wanted: int
    output: float  # the network's probability of 1

    @property
    def is_right(self) -> bool:
        return (self.output > 0.5) == bool(self.wanted)


@torch.no_grad()
def truth_table(model: Classifier, gate: Gate) -> list[Row]:
    """Computes a network's output at the four points."""
    points = Gates(gate).load_splits().test.inputs
    outputs = model.probabilities(points)[:, 1].tolist()
    places = [(int(x1), int(x2)) for x1, x2 in points.tolist()]
    return [Row(*row) for row in zip(places, GATES[gate], outputs, strict=True)]


def surface(model: Classifier, gate: Gate) -> Figure:
    """Draws the decision surface of a network, and the four points with the gate's values."""
    points, targets = Gates(gate).load_splits().test
    axis = torch.linspace(-MARGIN, 1 + MARGIN, RESOLUTION)
    return draw_surface(axis, probability_surface(model, axis), points, targets, gate.upper())

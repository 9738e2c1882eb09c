"""Iris flowers told apart by a small feed-forward network."""

from collections.abc import Sequence
from typing import Any

from models.classifier import Classifier
from models.networks import mlp


class IrisMLP(Classifier):
    """Four lengths -> three species; with the defaults, the lecture's 4-128-3 network.

    Args:
        hidden: Units of each hidden layer; `[128, 128]` is the lecture's deeper variant.
        activation: Of the hidden layers, see `models.networks.activation`.
        dropout: Share of hidden units that rest in a training step.
        **classifier: As for `Classifier`.
    """

    def __init__(
        self,
        hidden: Sequence[int] = (128,),
        activation: str = "sigmoid",
        dropout: float = 0.0,
        **classifier: Any,
    ) -> None:
        super().__init__(**classifier)
        network = mlp([4, *hidden, 3], activation, dropout)
        self.set_network(network, input_shape=(4,), classes=3)

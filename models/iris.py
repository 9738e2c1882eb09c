"""Iris flowers told apart by a small feed-forward network."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from models.classifier import Classifier
from models.networks import mlp


class IrisMLP(Classifier):
    """Four lengths -> three species; with the defaults, the lecture's 4-128-3 network.

    Args:
        hidden: Units of each hidden layer; `[128, 128]` is the lecture's deeper variant.
        activation: Of the hidden layers, see `models.networks.activation`.
        dropout: Share of hidden units that rest in a training step.
        variation: Standard deviation of `within_class_noise` on training flowers, in units of
            how flowers of one species vary.
        **classifier: As for `Classifier`.
    """

    def __init__(
        self,
        hidden: Sequence[int] = (128,),
        activation: str = "sigmoid",
        dropout: float = 0.0,
        variation: float = 0.0,
        **classifier: Any,
    ) -> None:
        super().__init__(**classifier)
        self.variation = variation
        network = mlp([4, *hidden, 3], activation, dropout)
        self.set_network(network, input_shape=(4,), classes=3)

    def augment(self, inputs: Tensor, targets: Tensor) -> Tensor:
        if not self.variation:
            return inputs
        return inputs + self.variation * within_class_noise(inputs, targets)


def within_class_noise(inputs: Tensor, targets: Tensor) -> Tensor:
    """Noise (B, F) with the covariance that the inputs (B, F) have within a class (B,), pooled.

    It is the difference of two examples of one class, divided by sqrt(2), given to a third
    example of any class. Told apart under such noise, classes are separated as linear
    discriminant analysis would, which few examples of nearly normal classes can hardly beat.
    An example alone of its class in the batch gives no noise.
    """
    same = (targets[:, None] == targets).to(inputs.dtype).fill_diagonal_(1e-9)
    partner = torch.multinomial(same, 1)[:, 0]
    differences = (inputs - inputs[partner]) / math.sqrt(2)
    return differences[torch.randperm(len(inputs), device=inputs.device)]

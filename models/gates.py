"""Logic gates: what one logistic unit can learn, and what takes a hidden layer."""

from typing import Any, Literal

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import nn

from models.classifier import Classifier
from models.classifier_losses import ClassifierLossName
from models.networks import mlp


class GateLogistic(Classifier):
    """Logistic regression, sigma(w . x + b): OR and AND, but neither XOR nor XNOR.

    Args:
        loss: As for `Classifier`.
        optimizer: As for `Classifier`.
        **classifier: As for `Classifier`.
    """

    def __init__(
        self,
        loss: ClassifierLossName = "bce",
        optimizer: OptimizerCallable = lambda p: torch.optim.Adam(p, lr=0.1),
        **classifier: Any,
    ) -> None:
        super().__init__(loss=loss, optimizer=optimizer, **classifier)
        self.set_network(mlp([2, 1]), input_shape=(2,), classes=2)


class GateMLP(Classifier):
    """One hidden layer, which learns every gate of two inputs.

    Two units are enough for XOR, but whether training finds them is another matter: with the
    lecture's sigmoid 455 of 1,000 seeds do within 400 steps, the others get stuck where both units
    are saturated. With SiLU, x * sigmoid(x), all 1,000 are there for good within 67 steps.

    Args:
        hidden_units: Units of the hidden layer.
        activation: Of the hidden layer, see `models.networks.activation`.
        loss: As for `Classifier`.
        optimizer: As for `Classifier`.
        **classifier: As for `Classifier`.
    """

    def __init__(
        self,
        hidden_units: int = 2,
        activation: str = "silu",
        loss: ClassifierLossName = "bce",
        optimizer: OptimizerCallable = lambda p: torch.optim.Adam(p, lr=0.1),
        **classifier: Any,
    ) -> None:
        super().__init__(loss=loss, optimizer=optimizer, **classifier)
        self.set_network(mlp([2, hidden_units, 1], activation), input_shape=(2,), classes=2)

    @classmethod
    def by_hand(cls, gate: Literal["xor", "xnor"], sharpness: float = 10.0) -> "GateMLP":
        """A model that computes the gate with weights that nobody had to learn.

        With s = x1 + x2, the hidden units are sigma(k (2 s - 1)), which is OR, and
        sigma(k (3 - 2 s)), which is NOT AND; XOR is where both are on, XNOR where not. The
        lecture's own sum, sigma(2 s - 1) + sigma(1 - 2 s), is 1 whatever s.

        Args:
            gate: `xnor` is 1 where both inputs are the same, `xor` where they differ.
            sharpness: The factor k on all weights.
        """
        model = cls(hidden_units=2, activation="sigmoid")
        hidden, output = (
            layer for layer in model.network.modules() if isinstance(layer, nn.Linear)
        )
        sign = 1.0 if gate == "xor" else -1.0
        with torch.no_grad():
            hidden.weight.copy_(sharpness * torch.tensor([[2.0, 2.0], [-2.0, -2.0]]))
            hidden.bias.copy_(sharpness * torch.tensor([-1.0, 3.0]))
            output.weight.copy_(sign * sharpness * torch.tensor([[2.0, 2.0]]))
            output.bias.copy_(sign * sharpness * torch.tensor([-3.0]))
        return model

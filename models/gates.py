"""Logic gates: models with one logistic unit, and with a hidden layer."""

from typing import Any, Literal

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import nn

from models.base import NetworkCallable
from models.classifier import Classifier, ClassifierLossName
from models.networks import FeedForward
from runtime.errors import UserError


class Gate(Classifier):
    """A gate of two inputs: one logit for "1", trained by binary cross-entropy."""

    one_logit = True

    def __init__(
        self,
        network: NetworkCallable,
        input_shape: tuple[int, ...] = (2,),
        num_classes: int = 2,
        loss: ClassifierLossName = "bce",
        optimizer: OptimizerCallable = lambda p: torch.optim.Adam(p, lr=0.1),
        **classifier: Any,
    ) -> None:
        if num_classes != 2 or len(input_shape) != 1:
            raise UserError(
                f"{type(self).__name__} has one output, for two classes of numbers, and the data "
                f"have {num_classes} classes of shape {tuple(input_shape)}: choose --data Gates, "
                "or the model Classifier"
            )
        super().__init__(input_shape, num_classes, network, loss, optimizer=optimizer, **classifier)


class GateLogistic(Gate):
    """Logistic regression, sigma(w . x + b): learns OR and AND, but neither XOR nor XNOR."""

    def __init__(
        self,
        network: NetworkCallable = lambda shape, outputs: FeedForward(shape, outputs, hidden=0),
        **gate: Any,
    ) -> None:
        super().__init__(network, **gate)


class GateMLP(Gate):
    """One hidden layer, which learns every gate of two inputs.

    Two units suffice for XOR, but training does not always find them. With the lecture's sigmoid,
    455 of 1,000 seeds find XOR within 400 steps; the others get stuck with both units saturated.
    With SiLU, x * sigmoid(x), all 1,000 find it within 67 steps.
    """

    def __init__(
        self,
        network: NetworkCallable = lambda shape, outputs: FeedForward(
            shape, outputs, hidden=2, activation="silu"
        ),
        **gate: Any,
    ) -> None:
        super().__init__(network, **gate)

    @classmethod
    def by_hand(cls, gate: Literal["xor", "xnor"], sharpness: float = 10.0) -> "GateMLP":
        """Returns a model whose weights compute the gate without training.

        With s = x1 + x2, the hidden units are sigma(k (2 s - 1)), which is OR, and
        sigma(k (3 - 2 s)), which is NOT AND. XOR is 1 if both units are on, XNOR if not. The
        lecture's own sum, sigma(2 s - 1) + sigma(1 - 2 s), is 1 for every s. `sharpness` is k.
        """
        model = cls(lambda shape, outputs: FeedForward(shape, outputs, 2, "sigmoid"))
        hidden, output = (part for part in model.network.modules() if isinstance(part, nn.Linear))
        sign = 1.0 if gate == "xor" else -1.0
        with torch.no_grad():
            hidden.weight.copy_(sharpness * torch.tensor([[2.0, 2.0], [-2.0, -2.0]]))
            hidden.bias.copy_(sharpness * torch.tensor([-1.0, 3.0]))
            output.weight.copy_(sign * sharpness * torch.tensor([[2.0, 2.0]]))
            output.bias.copy_(sign * sharpness * torch.tensor([-3.0]))
        return model

"""Regression: one hidden layer that approximates a function."""

from typing import Any, cast

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torchmetrics import MaxMetric

from models.base import NetworkCallable
from models.networks import OneHiddenLayer, check_fit
from models.training import OneNetwork
from runtime.errors import UserError


class FunctionMLP(OneNetwork):
    """F(x) = sum of v_i phi(w_i . x + b_i) + c, for a function on [-pi, pi]^m.

    One hidden layer, as in the universal approximation theorem (Cybenko 1989): with enough units
    the largest error falls below any bound. Trained for the mean squared error; validation and
    test log the largest absolute error as well, as `sup_error`.

    Args:
        input_shape: (m,), the number of variables.
        network: From (input_shape, num_outputs) to the network, whose activation is phi.
        optimizer: From parameters to an optimizer.
        num_classes: None, because data with classes are for a classifier.
        **training: As for `OneNetwork`.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...] = (1,),
        network: NetworkCallable = OneHiddenLayer,
        optimizer: OptimizerCallable = lambda p: torch.optim.Adam(p, lr=0.01),
        num_classes: int | None = None,
        **training: Any,
    ) -> None:
        super().__init__(optimizer=optimizer, **training)
        if num_classes is not None:
            raise UserError(
                f"FunctionMLP learns the values of a function, and the data have {num_classes} "
                "classes: choose --data Functions, or the model Classifier"
            )
        self.input_shape = tuple(input_shape)
        built = network(self.input_shape, 1)
        check_fit(built, self.input_shape, 1)
        self.set_network(built)
        self.example_input_array = torch.zeros(2, *input_shape)
        self.sup_error = nn.ModuleDict({"val": MaxMetric(), "test": MaxMetric()})

    def forward(self, points: Tensor) -> Tensor:
        """Points (B, m) -> values (B, 1)."""
        return self.active(points.to(self.dtype))

    def step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Computes a batch's mean squared error, and returns its targets and predictions (B, 1)."""
        points, targets = batch
        with torch.autocast(points.device.type, enabled=False):  # bf16 has three digits only
            predictions = self(points)
        loss = mse_loss(predictions, targets)
        return {"loss": loss, "targets": targets, "predictions": predictions}

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss = self.step(batch)["loss"]
        self.log_means({"loss": loss.detach()})
        return loss

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        result = self.step(batch)
        return {name: result[name] for name in ("targets", "predictions")}

    def evaluate(
        self, batch: tuple[Tensor, Tensor], batch_idx: int, stage: str
    ) -> dict[str, Tensor]:
        result = self.step(batch)
        largest = cast(MaxMetric, self.sup_error[stage])
        largest((result["predictions"] - result["targets"]).abs())
        self.log_means_of_examples({f"{stage}/loss": result["loss"]}, len(batch[0]))
        self.log(f"{stage}/sup_error", largest, on_step=False, on_epoch=True)
        return result

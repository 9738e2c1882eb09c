"""Regression: one hidden layer that approximates a function."""

import math
from typing import Any, cast

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torchmetrics import MaxMetric

from models.base import Module
from models.networks import mlp


class FunctionMLP(Module):
    """F(x) = sum of v_i phi(w_i . x + b_i) + c, for a function on [-pi, pi]^m.

    One hidden layer, as in the universal approximation theorem (Cybenko 1989): with enough units
    the largest error falls below any bound. Trained for the mean squared error; validation and
    test log the largest absolute error as well, as `sup_error`.

    Args:
        hidden_units: The number N of terms.
        dimensions: The number m of variables, that of `data.dimensions`.
        activation: phi, see `models.networks.activation`.
        optimizer: From parameters to an optimizer.
        scheduler: From an optimizer to a learning rate schedule, stepped every batch.
    """

    def __init__(
        self,
        hidden_units: int = 64,
        dimensions: int = 1,
        activation: str = "sigmoid",
        optimizer: OptimizerCallable = lambda p: torch.optim.Adam(p, lr=0.01),
        scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.network = function_network(hidden_units, dimensions, activation)
        self.example_input_array = torch.zeros(2, dimensions)
        self.sup_error = nn.ModuleDict({"val": MaxMetric(), "test": MaxMetric()})

    def forward(self, points: Tensor) -> Tensor:
        """Points (B, m) -> values (B, 1)."""
        return self.network(points)

    def step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """The mean squared error of a batch, its targets (B, 1) and the predictions (B, 1)."""
        points, targets = batch
        with torch.autocast(points.device.type, enabled=False):  # bf16 has but three digits
            predictions = self(points)
        loss = mse_loss(predictions, targets)
        return {"loss": loss, "targets": targets, "predictions": predictions}

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss = self.step(batch)["loss"]
        self.log_means({"loss": loss.detach()})
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self._evaluate(batch, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self._evaluate(batch, "test")

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        result = self.step(batch)
        return {name: result[name] for name in ("targets", "predictions")}

    def _evaluate(self, batch: tuple[Tensor, Tensor], stage: str) -> dict[str, Tensor]:
        result = self.step(batch)
        largest = cast(MaxMetric, self.sup_error[stage])
        largest((result["predictions"] - result["targets"]).abs())
        self.log(f"{stage}/loss", result["loss"], batch_size=len(batch[0]), sync_dist=True)
        self.log(f"{stage}/sup_error", largest, on_step=False, on_epoch=True)
        return result

    def configure_optimizers(self) -> Any:
        optimizer = self.make_optimizer(self.network.parameters())
        if self.make_scheduler is None:
            return optimizer
        return [optimizer], [{"scheduler": self.make_scheduler(optimizer), "interval": "step"}]


def function_network(hidden_units: int, dimensions: int = 1, activation: str = "sigmoid") -> Any:
    """A network with one hidden layer whose units turn on all over [-pi, pi]^m.

    Torch's own start puts most of the turns near the origin. Here each unit turns at a point
    drawn uniformly, in a random direction, with a slope drawn log-uniformly between 1 and
    N^(1/m), so that some units are wide and some as narrow as their distance (in the spirit of
    Nguyen and Widrow 1990).
    """
    network = mlp([dimensions, hidden_units, 1], activation)
    layer = next(part for part in network if isinstance(part, nn.Linear))
    with torch.no_grad():
        direction = torch.randn(hidden_units, dimensions)
        direction /= direction.norm(dim=1, keepdim=True)
        slope = hidden_units ** (torch.rand(hidden_units, 1) / dimensions)
        centre = (torch.rand(hidden_units, dimensions) * 2 - 1) * math.pi
        layer.weight.copy_(slope * direction)
        layer.bias.copy_(-(layer.weight * centre).sum(dim=1))
    return network

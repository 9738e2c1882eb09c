"""Optimizers and learning-rate schedules, built in one way for all models."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from lightning import Trainer
from lightning.pytorch.cli import OptimizerCallable
from torch import nn
from torch.optim import Optimizer

from runtime.errors import UserError
from runtime.ranges import Share


@dataclass(frozen=True)
class Schedule:
    """The learning rate over a run, as a factor on that of the optimizer.

    Args:
        shape: `constant`, or falling to 0 at the end as a `cosine` or a line (`linear`).
        hold: Share of the run before the learning rate begins to fall.
        warmup: Share of the run in which it first rises from 0.
    """

    shape: Literal["constant", "cosine", "linear"] = "constant"
    hold: Share = 0.0
    warmup: Share = 0.0

    def factor(self, step: int, total: float) -> float:
        """Returns the factor in a step of a run of `total` steps."""
        rise, start = self.warmup * total, (self.warmup + self.hold) * total
        if step < rise:
            return (step + 1) / (rise + 1)
        fraction = min(1.0, max(0.0, step - start) / max(1.0, total - start))
        if self.shape == "cosine":
            return (1 + math.cos(math.pi * fraction)) / 2
        return 1 - fraction if self.shape == "linear" else 1.0

    @property
    def is_constant(self) -> bool:
        """True if the learning rate never changes."""
        return self.shape == "constant" and not self.warmup

    def total_steps(self, trainer: Trainer) -> float:
        """Returns the number of steps of a run, which `factor` needs."""
        total = trainer.estimated_stepping_batches
        if math.isinf(total):
            raise UserError(
                f"model.schedule {self.shape} needs to know when the run ends: set "
                "--trainer.max_epochs or --trainer.max_steps"
            )
        return total


def build_optimizer(
    parameters: Iterable[nn.Parameter], make: OptimizerCallable, name: str = "optimizer"
) -> Optimizer:
    """Builds an optimizer of parameters; `name` is that of its option, for messages."""
    try:
        return make(parameters)
    except ValueError as error:  # such as "Invalid learning rate: -1"
        raise UserError(f"model.{name}: {error}. Give it another value.") from error

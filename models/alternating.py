"""Manual optimization of several networks, with what Lightning then leaves to the model."""

from typing import Any

from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from models.base import Module
from models.distributed import average_gradients
from models.optimizers import Schedule, build_optimizer, learning_rate_factor

Factories = tuple[OptimizerCallable, LRSchedulerCallable | None]


class AlternatingOptimization(Module):
    """Trains each network with its own optimizer and schedule. One batch is one step.

    In manual optimization Lightning neither clips nor accumulates gradients nor steps schedules,
    and it counts the steps of every optimizer. This class does all four for each network.

    Args:
        factories: Attribute name of each network -> from its parameters to an optimizer, and from
            that to a learning-rate schedule or None. The order is that of `self.optimizers()`.
        gradient_clip_val: Largest gradient norm of each network; None: no limit.
        accumulate_grad_batches: Batches whose gradients make one update.
        schedule: Learning rate of each optimizer that has no schedule itself, over the whole run.
        hold: Share of the run before the learning rate begins to fall.
    """

    def __init__(
        self,
        factories: dict[str, Factories],
        gradient_clip_val: float | None,
        accumulate_grad_batches: int,
        schedule: Schedule = "constant",
        hold: float = 0.0,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.factories = factories
        self.gradient_clip_val = gradient_clip_val
        self.accumulate_grad_batches = accumulate_grad_batches
        self.schedule: Schedule = schedule
        self.hold = hold

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        if self.gradient_clip_val is not None:  # here, because 16-mixed has unscaled them by now
            self.clip_gradients(optimizer, self.gradient_clip_val, "norm")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        configs: Any = tuple(
            build_optimizer(
                getattr(self, name).parameters(), make, schedule or self._schedule(),
                None, f"{name}_scheduler",
            )
            for name, (make, schedule) in self.factories.items()
        )  # fmt: skip
        return configs

    def _schedule(self) -> LRSchedulerCallable | None:
        if self.schedule == "constant":
            return None
        factor = learning_rate_factor(self.trainer, self.schedule, hold=self.hold)
        # of the run's step: networks may take unequally many
        return lambda optimizer: LambdaLR(
            optimizer, lambda own: factor(own and self.global_step + 1)
        )

    def add_gradients(self, name: str, loss: Tensor, complete: bool) -> None:
        """Runs backward; if that completes the gradients of network `name`, averages over ranks."""
        self.manual_backward(loss / self.accumulate_grad_batches)
        if complete and self.trainer.world_size > 1:
            average_gradients(getattr(self, name).parameters())

    def update_network(self, optimizer: LightningOptimizer) -> None:
        """Updates one network: clips its gradients, applies them, clears them."""
        optimizer.step()
        self.count_steps(-1)  # Lightning has counted this update
        optimizer.zero_grad()
        schedulers = self.lr_schedulers() or []
        for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
            if scheduler.optimizer is optimizer.optimizer:
                scheduler.step()  # type: ignore[call-arg]

    def count_steps(self, steps: int) -> None:
        """Counts steps: 1 for each batch, so that `global_step` and `max_steps` mean batches."""
        progress = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        for counter in (progress.total, progress.current):
            counter.ready += steps
            counter.completed += steps

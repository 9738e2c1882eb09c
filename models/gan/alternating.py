"""Manual optimization of several networks, with what Lightning then leaves to the model."""

from typing import Any

from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.core.optimizer import LightningOptimizer, do_nothing_closure
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer

from models.base import Module
from models.distributed import average_gradients
from models.schedule import Schedule, build_optimizer


class AlternatingOptimization(Module):
    """Trains each network with its own optimizer. One batch is one step.

    In manual optimization Lightning neither clips nor accumulates gradients nor steps schedules,
    and it counts the steps of every optimizer. This class does all four for each network.

    Args:
        factories: Attribute name of each network -> from its parameters to an optimizer. The order
            is that of `self.optimizers()`.
        schedule: Of all learning rates.
        gradient_clip_val: Largest gradient norm of each network; None: no limit.
        accumulate_grad_batches: Batches whose gradients make one update.
    """

    def __init__(
        self,
        factories: dict[str, OptimizerCallable],
        schedule: Schedule,
        gradient_clip_val: float | None,
        accumulate_grad_batches: int,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.factories, self.schedule = factories, schedule
        self.gradient_clip_val = gradient_clip_val
        self.accumulate_grad_batches = accumulate_grad_batches

    def configure_optimizers(self) -> OptimizerLRScheduler:
        scheduler = self.schedule.scheduler(self.trainer)
        configs: Any = tuple(
            build_optimizer(getattr(self, name).parameters(), make, scheduler, f"{name}_optimizer")
            for name, make in self.factories.items()
        )
        return configs

    def is_due(self, batch_idx: int) -> bool:
        """Returns whether the accumulated gradients make an update in this batch."""
        return (batch_idx + 1) % self.accumulate_grad_batches == 0 or self.trainer.is_last_batch

    def add_gradients(self, loss: Tensor) -> None:
        """Adds the gradients of one batch of an update to those of the network in turn."""
        self.manual_backward(loss / self.accumulate_grad_batches)

    def update_network(self, optimizer: LightningOptimizer) -> None:
        """Updates a network with its gradients, averaged over all processes, and clears them."""
        if self.trainer.world_size > 1:
            average_gradients(optimizer.param_groups[0]["params"])
        # Lightning would count the step. `end_batch` counts instead.
        optimizer._on_before_step = optimizer._on_after_step = do_nothing_closure
        optimizer.step()
        optimizer.zero_grad()

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        if self.gradient_clip_val is not None:  # here, because 16-mixed has unscaled them by now
            self.clip_gradients(optimizer, self.gradient_clip_val, "norm")

    def end_batch(self) -> None:
        """Steps the schedules, and counts the batch as one step of the run."""
        schedulers = self.lr_schedulers() or []
        for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
            scheduler.step()  # type: ignore[call-arg]
        progress = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        progress.increment_ready()
        progress.increment_completed()

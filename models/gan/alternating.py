"""Manual optimization of several networks, each with its own optimizer."""

from typing import Any

from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.core.optimizer import LightningOptimizer, do_nothing_closure
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer

from models.base import Module
from models.distributed import average_gradients
from models.training import Schedule, build_optimizer


class AlternatingOptimization(Module):
    """Trains each network with its own optimizer. One batch is one step.

    In manual optimization Lightning does not clip gradients, does not change learning rates, and
    counts each optimizer's update as a step. This class clips, applies the schedule, and counts
    batches. A subclass sets the attributes.
    """

    factories: dict[str, OptimizerCallable]  # by network, in the order of `self.optimizers()`
    schedule: Schedule  # of all learning rates
    gradient_clip_val: float | None  # largest gradient norm of each network; None: no limit

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    @property
    def trained_networks(self) -> list[nn.Module]:
        return [getattr(self, name) for name in self.factories]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        if not self.schedule.is_constant:
            self._total_steps = self.schedule.total_steps(self.trainer)
        optimizers = []
        for name, make in self.factories.items():
            parameters = getattr(self, name).parameters()
            optimizers.append(build_optimizer(parameters, make, f"{name}_optimizer"))
            for group in optimizers[-1].param_groups:
                group["initial_lr"] = group["lr"]
        return optimizers

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Sets the learning rates of this batch, which depend on the step alone."""
        super().on_train_batch_start(batch, batch_idx)
        if self.schedule.is_constant:
            return
        factor = self.schedule.factor(self.global_step, self._total_steps)
        for optimizer in self.trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor

    def update_network(self, optimizer: LightningOptimizer, loss: Tensor) -> None:
        """Updates a network by the gradients of its loss, averaged over all processes."""
        self.manual_backward(loss)
        if self.trainer.world_size > 1:
            average_gradients(p for group in optimizer.param_groups for p in group["params"])
        # Without these two hooks Lightning does not count the update. `count_batch` counts.
        optimizer._on_before_step = optimizer._on_after_step = do_nothing_closure
        optimizer.step()
        optimizer.zero_grad()

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        if self.gradient_clip_val is not None:  # in 16-mixed, gradients are unscaled here
            self.clip_gradients(optimizer, self.gradient_clip_val, "norm")

    def count_batch(self) -> None:
        """Counts each batch as one step of the run, and not each optimizer's update."""
        progress = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        progress.increment_ready()
        progress.increment_completed()

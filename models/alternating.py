"""Manual optimisation for networks that take turns, with what Lightning then leaves undone."""

from typing import Any

from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.core.optimizer import LightningOptimizer, do_nothing_closure
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from models.base import Module
from models.distributed import average_gradients

Factories = tuple[OptimizerCallable, LRSchedulerCallable | None]


class AlternatingOptimization(Module):
    """Each network has its optimizer and schedule; a batch is one step, whoever was updated.

    In manual optimisation Lightning neither clips nor accumulates gradients nor steps schedules,
    and it counts every optimizer's steps. Here are all four, per network.

    Args:
        factories: Attribute name of each network -> from its parameters to an optimizer, and from
            that to a learning rate schedule or None. The order is that of `self.optimizers()`.
        gradient_clip_val: Largest gradient norm of each network; None: no limit.
        accumulate_grad_batches: Batches whose gradients make one update.
    """

    def __init__(
        self,
        factories: dict[str, Factories],
        gradient_clip_val: float | None,
        accumulate_grad_batches: int,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.factories = factories
        self.gradient_clip_val = gradient_clip_val
        self.accumulate_grad_batches = accumulate_grad_batches

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        if self.gradient_clip_val is not None:  # here, since 16-mixed has unscaled gradients now
            self.clip_gradients(optimizer, self.gradient_clip_val, "norm")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizers: list[Optimizer] = []
        schedulers: list[Any] = []
        for name, (make_optimizer, make_scheduler) in self.factories.items():
            optimizers.append(make_optimizer(getattr(self, name).parameters()))
            if make_scheduler is not None:
                schedulers.append(make_scheduler(optimizers[-1]))
                if isinstance(schedulers[-1], ReduceLROnPlateau):
                    raise MisconfigurationException(
                        f"model.{name}_scheduler: ReduceLROnPlateau needs a falling loss to watch, "
                        "and a GAN has none; choose a schedule of steps, such as CosineAnnealingLR."
                    )
        return optimizers, schedulers

    def add_gradients(self, name: str, loss: Tensor, complete: bool) -> None:
        """Adds the gradients of a loss. When complete, averages those of `name` over the ranks."""
        self.manual_backward(loss / self.accumulate_grad_batches)
        if complete and self.trainer.world_size > 1:
            average_gradients(getattr(self, name).parameters())

    def update_network(self, name: str, optimizer: LightningOptimizer) -> None:
        """Updates one network: clips its gradients, applies them, clears them."""
        optimizer.step()
        optimizer.zero_grad()
        schedulers = self.lr_schedulers() or []
        for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
            if scheduler.optimizer is optimizer.optimizer:
                scheduler.step()  # type: ignore[call-arg]

    # Lightning counts every optimizer's steps, which is twice a batch here. Both optimizers are
    # told not to count (the loop sets these two hooks anew each batch), and each batch counts
    # one: `max_steps`, loggers and checkpoints then mean batches.

    def leave_step_counting_to_us(self, optimizers: list[LightningOptimizer]) -> None:
        for optimizer in optimizers:
            optimizer._on_before_step = optimizer._on_after_step = do_nothing_closure

    def count_batch(self) -> None:
        progress = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        progress.increment_ready()
        progress.increment_completed()

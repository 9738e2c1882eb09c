"""Optimizers and learning-rate schedules, built in one way for all models."""

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal

from lightning import Trainer
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from runtime.errors import UserError

Schedule = Literal["constant", "cosine", "linear"]


def build_optimizer(
    parameters: Iterable[nn.Parameter],
    make_optimizer: OptimizerCallable,
    make_scheduler: LRSchedulerCallable | None,
    monitor: str | None = "val/loss",
    name: str = "scheduler",
) -> dict[str, Any]:
    """Builds what `configure_optimizers` returns for one optimizer.

    A schedule is stepped every batch, except `ReduceLROnPlateau`, which watches `monitor` once an
    epoch. Messages call the schedule `name`.
    """
    try:
        optimizer = make_optimizer(parameters)
    except ValueError as error:  # such as "Invalid learning rate: -1"
        option = f"model.{name.replace('scheduler', 'optimizer')}"
        raise UserError(f"{option}: {error}. Give it another value.") from error
    if make_scheduler is None:
        return {"optimizer": optimizer}
    scheduler = make_scheduler(optimizer)
    config: dict[str, Any] = {"scheduler": scheduler, "interval": "step"}
    if isinstance(scheduler, ReduceLROnPlateau):
        if monitor is None:
            raise UserError(
                f"model.{name}: ReduceLROnPlateau needs a falling loss to watch, and a GAN has "
                "none; choose a schedule of steps, such as CosineAnnealingLR."
            )
        config |= {"interval": "epoch", "monitor": monitor}
    return {"optimizer": optimizer, "lr_scheduler": config}


def rescaled(make_optimizer: OptimizerCallable, every: int) -> OptimizerCallable:
    """Fits an optimizer to a penalty in every k-th batch only (Karras et al. 2020, appendix B).

    The learning rate is multiplied by c = k / (k + 1), and each of Adam's betas becomes beta^c.
    """
    share = every / (every + 1)

    def make(parameters: Iterable[nn.Parameter]) -> Optimizer:
        optimizer = make_optimizer(parameters)
        for group in optimizer.param_groups:
            group["lr"] *= share
            if "betas" in group:
                group["betas"] = tuple(beta**share for beta in group["betas"])
        return optimizer

    return make


def learning_rate_factor(
    trainer: Trainer, schedule: Schedule, warmup: float = 0.0, hold: float = 0.0
) -> Callable[[int], float]:
    """Returns the factor on the learning rate as a function of the step, for `LambdaLR`.

    It rises during the share `warmup` of the run, stays at 1 during the share `hold`, and then
    follows the schedule.
    """
    total = trainer.estimated_stepping_batches
    if math.isinf(total):
        raise UserError(
            f"model.schedule {schedule} needs to know when the run ends: set "
            "--trainer.max_epochs or --trainer.max_steps"
        )
    rise, start = warmup * total, (warmup + hold) * total

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / (rise + 1)
        fraction = min(1.0, max(0.0, step - start) / (total - start))
        if schedule == "cosine":
            return (1 + math.cos(math.pi * fraction)) / 2
        return 1 - fraction if schedule == "linear" else 1.0

    return factor

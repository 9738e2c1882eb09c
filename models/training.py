"""Optimizer, learning-rate schedule and EMA of a network."""

import math
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

import torch
from lightning import Trainer
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from models.base import Module
from runtime.errors import UserError
from runtime.ranges import Fraction


@dataclass(frozen=True)
class Schedule:
    """The learning rate over a run, as a factor on that of the optimizer.

    Args:
        shape: `constant`, or falling to 0 at the end as a `cosine` or a line (`linear`).
        hold: Fraction of the run before the learning rate begins to fall.
        warmup: Fraction of the run in which it first rises from 0.
    """

    shape: Literal["constant", "cosine", "linear"] = "constant"
    hold: Fraction = 0.0
    warmup: Fraction = 0.0

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
        if trainer.early_stopping_callbacks and self.shape != "constant":
            rank_zero_warn(
                f"EarlyStopping may end the run before model.schedule {self.shape} has lowered the "
                f"learning rate, which takes all {total:,.0f} steps: use one of the two."
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


@dataclass(frozen=True)
class EMAOptions:
    """Options of the exponential moving average (EMA) of weights that a model is evaluated with.

    Args:
        decay: Fraction of the EMA that one update keeps, such as 0.999; 0: there is no EMA.
    """

    decay: Fraction = 0.0

    def build(self, network: nn.Module) -> "EMA | None":
        """Returns an EMA that starts at the network's weights, or None."""
        return EMA(network, self.decay) if self.decay else None


class EMA(nn.Module):
    """A copy of a network that follows it: ema <- decay * ema + (1 - decay) * network.

    Batch norm statistics are averaged as well. The copy is part of the state dict. Lightning's
    callback would copy the whole module, not only the generator of a GAN.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.network = deepcopy(network).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "EMA":
        """Stays in eval mode, because an EMA has no batch statistics."""
        return super().train(False)

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Moves the EMA toward `network` after update number `step`, counted from 0.

        The first updates move it further, so that a short run does not average over untrained
        weights.
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        ema, currents = _floating_state(self.network), _floating_state(network)
        torch._foreach_lerp_(ema, currents, 1 - decay)


def _floating_state(network: nn.Module) -> list[Tensor]:
    return [v for v in network.state_dict().values() if v.is_floating_point()]


class OneNetwork(Module):
    """Trains `network` as Lightning does, with a schedule per step and an EMA of its weights.

    A subclass calls `set_network` in `__init__`.

    Args:
        average: Exponential moving average (EMA) of the weights, to evaluate instead of them.
        optimizer: From parameters to an optimizer.
        schedule: The learning rate over the run.
    """

    def __init__(
        self,
        average: EMAOptions = EMAOptions(),
        optimizer: OptimizerCallable = torch.optim.Adam,
        schedule: Schedule = Schedule(),
    ) -> None:
        super().__init__()
        self.save_hyperparameters()  # also those of the subclass
        self.ema_options, self.make_optimizer, self.schedule = average, optimizer, schedule

    def set_network(self, network: nn.Module) -> None:
        """Sets the network that is trained."""
        self.network, self.ema = network, self.ema_options.build(network)

    @property
    def eval_network(self) -> nn.Module:
        """The network to evaluate with: the EMA if there is one."""
        return self.network if self.ema is None else self.ema.network

    @property
    def trained_networks(self) -> list[nn.Module]:
        network = self.network
        return [*network.children()] if isinstance(network, nn.ModuleDict) else [network]

    @property
    def active(self) -> nn.Module:
        """In training the network, otherwise the one to evaluate with."""
        return self.network if self.training or self.ema is None else self.ema.network

    def configure_optimizers(self) -> Any:
        optimizer = build_optimizer(self.network.parameters(), self.make_optimizer)
        if self.schedule.is_constant:
            return optimizer
        total = self.schedule.total_steps(self.trainer)
        scheduler = LambdaLR(optimizer, lambda step: self.schedule.factor(step, total))
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Steps, then updates the EMA, before any callback may write a checkpoint."""
        super().optimizer_step(*args, **kwargs)
        if self.ema is not None:
            self.ema.update(self.network, self.global_step)

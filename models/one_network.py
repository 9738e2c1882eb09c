"""A model with one network: its optimizer, schedule and moving average."""

from typing import Any

from lightning.pytorch.cli import OptimizerCallable
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from models.averaging import Averaging
from models.base import Module
from models.schedule import Schedule, build_optimizer


class OneNetwork(Module):
    """Trains `network` as Lightning does, with a schedule per step and a moving average."""

    def train_network(
        self,
        network: nn.Module,
        average: Averaging,
        optimizer: OptimizerCallable,
        schedule: Schedule,
    ) -> None:
        """Sets what is trained, and how. To be called once, in `__init__`.

        Args:
            network: The network.
            average: Moving average of its weights, to evaluate instead of them.
            optimizer: From parameters to an optimizer.
            schedule: The learning rate over the run.
        """
        self.network, self.ema = network, average.of(network)
        self.make_optimizer, self.schedule = optimizer, schedule

    @property
    def evaluated(self) -> nn.Module:
        """The network to evaluate with: the moving average if there is one."""
        return self.network if self.ema is None else self.ema.network

    def configure_optimizers(self) -> Any:
        optimizer = build_optimizer(self.network.parameters(), self.make_optimizer)
        if self.schedule.is_constant:
            return optimizer
        total = self.schedule.total_steps(self.trainer)
        scheduler = LambdaLR(optimizer, lambda step: self.schedule.factor(step, total))
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Steps, then updates the average, before any callback may write a checkpoint."""
        super().optimizer_step(*args, **kwargs)
        if self.ema is not None:
            self.ema.update(self.network, self.global_step)

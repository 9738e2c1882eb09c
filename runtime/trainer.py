"""Lightning's Trainer with this project's defaults."""

import re
from datetime import timedelta
from functools import partial
from typing import Any, Literal

from lightning import LightningModule, Trainer
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import nn

from runtime import cluster, lightning_fixes
from runtime.checkpoints import AtomicCheckpointIO
from runtime.cpu import (
    bf16_slowdown,
    choose_precision,
    correct_bf16,
    flush_denormals,
    keep_freed_memory,
)
from runtime.errors import UserError
from runtime.ranges import PositiveFloat
from runtime.repetition import Repetition

# Types, so that a wrong value is refused with the nearest.
Precision = Trainer.__init__.__annotations__["precision"] | Literal["auto"]
HALF = ("bf16-mixed", "bf16-true")
REFUSALS = (ValueError, TypeError, ImportError, RuntimeError, MisconfigurationException)


class LadderTrainer(Trainer):
    """A Trainer that chooses its precision, writes checkpoints atomically and corrects Lightning.

    Args:
        precision: Like Lightning's. `auto` is bf16-mixed if the hardware multiplies bf16
            natively, otherwise 32-true.
        plugins: Like Lightning's. Without a CheckpointIO among them, checkpoints are atomic.
        rank_timeout: Seconds that a process waits for another one before the run fails. A strategy
            that is given as a class keeps its own `timeout`.
        pictures: Draw pictures into the run's folder and send them to its loggers.
        compile: Compile the networks for training, by the `compile` of `models.base.Module`.
    """

    def __init__(
        self,
        *args: Any,
        precision: Precision = "auto",  # type: ignore[valid-type]
        plugins: Any | None = None,
        rank_timeout: PositiveFloat = 600.0,
        pictures: bool = True,
        compile: bool = False,
        **kwargs: Any,
    ) -> None:
        self.chooses_log_interval = kwargs.get("log_every_n_steps") is None
        self.pictures, self.compile = pictures, compile
        self._chosen_because = ""
        if precision == "auto":
            accelerator = str(kwargs.get("accelerator", "auto"))
            precision, self._chosen_because = choose_precision(accelerator)
        plugins = (
            list(plugins) if isinstance(plugins, list | tuple) else [plugins] if plugins else []
        )
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            plugins.append(AtomicCheckpointIO())
        cluster.check_launch()
        self.prints_summary = kwargs.get("enable_model_summary") is not False
        kwargs |= {"precision": precision, "plugins": plugins}
        kwargs |= {"enable_model_summary": False}  # see callbacks.Figures
        kwargs |= cluster.torchrun_devices(kwargs.get("devices", "auto"))
        try:
            super().__init__(*args, **kwargs)
            cluster.check_processes(self)
        except REFUSALS as error:
            if re.search("gpu backend|CUDAAccelerator. can not run", str(error)):
                error = ValueError("there is no GPU here: use --trainer.accelerator auto")
            raise UserError(f"trainer: {error}") from error
        if isinstance(self.strategy, DDPStrategy) and self.world_size > 2:
            vars(self)["callbacks"].insert(0, Repetition())
        lightning_fixes.correct(self)
        lightning_fixes.set_rank_timeout(self, timedelta(seconds=rank_timeout))
        if self.strategy.root_device.type == "cpu":
            keep_freed_memory()
            flush_denormals()
            if self.precision in HALF:
                plugin = self.strategy.precision_plugin
                vars(plugin)["convert_module"] = partial(_convert, plugin)

    def __deepcopy__(self, memo: Any) -> "LadderTrainer":
        """Returns itself, because a copy of a model must not copy the trainer."""
        return self

    def fit(self, model: LightningModule, *args: Any, **kwargs: Any) -> None:
        """Trains a model."""
        if self.compile and type(model).compile is LightningModule.compile:
            raise UserError(f"--trainer.compile: {type(model).__name__} names no networks for it")
        if self.compile:  # with the random numbers of an uncompiled run
            model.compile(options={"fallback_random": True})
        if self._chosen_because and self.precision == "bf16-mixed":
            rank_zero_info(
                f"Trains in bfloat16 where that is safe, because {self._chosen_because}. "
                "--trainer.precision 32-true computes in float32."
            )
        elif self.precision in HALF and self.strategy.root_device.type == "cpu":
            chosen, because = choose_precision("cpu")
            if chosen not in HALF:
                rank_zero_info(
                    f"--trainer.precision {self.precision} is slow here: {because}, so bf16 is "
                    f"emulated, and a convolution takes {bf16_slowdown():.1f} times as long as "
                    "with --trainer.precision 32-true."
                )
        super().fit(model, *args, **kwargs)


def _convert(plugin: Any, model: nn.Module) -> nn.Module:
    """Converts a model to a precision like Lightning, but for what a CPU computes wrongly."""
    correct_bf16(model)
    return type(plugin).convert_module(plugin, model)

"""Lightning's Trainer with this project's defaults."""

from typing import Any, Literal, cast

from lightning import Trainer
from lightning.fabric.connector import _PRECISION_INPUT
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from runtime import cluster
from runtime.checkpoints import AtomicCheckpointIO
from runtime.cpu import keep_freed_memory, take_subnormal_numbers_as_zero
from runtime.hooks import call_only_what_is_written
from runtime.precision import choose_precision


class LadderTrainer(Trainer):
    """A Trainer that chooses its precision and writes checkpoints atomically.

    Args:
        precision: As Lightning's; `auto` is bf16-mixed where the hardware multiplies bf16
            natively, else 32-true. What was chosen is printed.
        plugins: As Lightning's. Without a CheckpointIO among them, checkpoints are atomic.
    """

    def __init__(
        self,
        *args: Any,
        precision: _PRECISION_INPUT | Literal["auto"] | None = "auto",
        plugins: Any | None = None,
        **kwargs: Any,
    ) -> None:
        if precision == "auto":
            chosen, reason = choose_precision(str(kwargs.get("accelerator", "auto")))
            rank_zero_info(f"Precision {chosen}: {reason}.")
            precision = cast(_PRECISION_INPUT, chosen)
        plugins = (
            list(plugins) if isinstance(plugins, list | tuple) else [plugins] if plugins else []
        )
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            plugins.append(AtomicCheckpointIO())
        cluster.check_launch()
        super().__init__(*args, precision=precision, plugins=plugins, **kwargs)
        cluster.check_shape(self)
        call_only_what_is_written(self)
        if self.strategy.root_device.type == "cpu":
            keep_freed_memory()
            take_subnormal_numbers_as_zero()

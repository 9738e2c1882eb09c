"""Lightning's Trainer with this project's defaults."""

from typing import Any, Literal

from lightning import Trainer
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from runtime import cluster, lightning_mends
from runtime.checkpoint_files import AtomicCheckpointIO
from runtime.cpu import keep_freed_memory, take_subnormal_numbers_as_zero
from runtime.errors import UserError
from runtime.loggers import LoggerFactory
from runtime.precision import choose_precision
from runtime.ranges import Range, check_values

# Functions that make loggers, for `RunFolder` to call once the folder is known. In this order,
# because jsonargparse writes a value as the first type that takes it.
Loggers = bool | list[LoggerFactory] | LoggerFactory | None
# Types, so that a wrong value is refused with the nearest.
Precision = Trainer.__init__.__annotations__["precision"] | Literal["auto"]


RANGES = {  # of Lightning's arguments, which it does not check itself
    "max_epochs": Range(-1),
    "max_steps": Range(-1),
    "log_every_n_steps": Range(0),
    "fast_dev_run": Range(0),
    "check_val_every_n_epoch": Range(1),
    "val_check_interval": Range(0, above=True),
    "accumulate_grad_batches": Range(1),
    "gradient_clip_val": Range(0, above=True),
}
NO_TRAINING = ("max_epochs", "max_steps", "limit_train_batches")  # if one of them is 0


class LadderTrainer(Trainer):
    """A Trainer that chooses its precision, writes checkpoints atomically and corrects Lightning.

    Args:
        logger: Loggers beside the run folder's CSV and TensorBoard; False: no logs, no folder.
        precision: Like Lightning's. `auto` is bf16-mixed if the hardware multiplies bf16
            natively, otherwise 32-true. The choice is printed.
        plugins: Like Lightning's. Without a CheckpointIO among them, checkpoints are atomic.
        oversubscribe: Allow more processes on the CPU than it has cores.
    """

    def __init__(
        self,
        *args: Any,
        logger: Loggers = None,
        precision: Precision = "auto",  # type: ignore[valid-type]
        plugins: Any | None = None,
        oversubscribe: bool = False,
        **kwargs: Any,
    ) -> None:
        check_values(kwargs, RANGES, "trainer.")
        self.chooses_log_interval = kwargs.get("log_every_n_steps") is None
        if precision == "auto":
            precision, reason = choose_precision(str(kwargs.get("accelerator", "auto")))
            rank_zero_info(f"Precision {precision}: {reason}.")
        plugins = (
            list(plugins) if isinstance(plugins, list | tuple) else [plugins] if plugins else []
        )
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            plugins.append(AtomicCheckpointIO())
        cluster.check_launch()
        kwargs |= {"logger": logger, "precision": precision, "plugins": plugins}
        try:
            super().__init__(*args, **kwargs)
        except (ValueError, TypeError, ImportError, MisconfigurationException) as error:
            raise UserError(f"trainer: {error}") from error
        cluster.check_shape(self)
        cluster.check_cores(self, oversubscribe)
        lightning_mends.mend(self)
        if self.strategy.root_device.type == "cpu":
            keep_freed_memory()
            take_subnormal_numbers_as_zero()

    def fit(self, *args: Any, **kwargs: Any) -> None:
        """Trains a model."""
        for name in NO_TRAINING:
            if getattr(self, name) == 0:
                raise UserError(
                    f"trainer.{name} is 0, so nothing would be trained: set it to more, or leave "
                    "it out"
                )
        with lightning_mends.cheap_hooks(self):
            super().fit(*args, **kwargs)

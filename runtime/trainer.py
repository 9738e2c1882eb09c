"""Lightning's Trainer with this project's defaults."""

from typing import Any, Literal

from lightning import Trainer
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from runtime import cluster, lightning_fixes
from runtime.checkpoints import AtomicCheckpointIO
from runtime.cpu import choose_precision, keep_freed_memory, take_subnormal_numbers_as_zero
from runtime.errors import UserError
from runtime.loggers import LoggerFactory

# Functions that make loggers, for `RunFolder` to call once the folder is known. In this order,
# because jsonargparse writes a value as the first type that takes it.
Loggers = bool | list[LoggerFactory] | LoggerFactory | None
# Types, so that a wrong value is refused with the nearest.
Precision = Trainer.__init__.__annotations__["precision"] | Literal["auto"]

NO_TRAINING = ("max_epochs", "max_steps", "limit_train_batches")  # if one of them is 0


class LadderTrainer(Trainer):
    """A Trainer that chooses its precision, writes checkpoints atomically and corrects Lightning.

    Args:
        logger: Loggers beside the run folder's CSV and TensorBoard; False: no logs, no folder.
        precision: Like Lightning's. `auto` is bf16-mixed if the hardware multiplies bf16
            natively, otherwise 32-true.
        plugins: Like Lightning's. Without a CheckpointIO among them, checkpoints are atomic.
        oversubscribe: Allow more processes on the CPU than it has cores.
        pictures: Draw pictures into the run's folder and send them to its loggers.
    """

    def __init__(
        self,
        *args: Any,
        logger: Loggers = None,
        precision: Precision = "auto",  # type: ignore[valid-type]
        plugins: Any | None = None,
        oversubscribe: bool = False,
        pictures: bool = True,
        **kwargs: Any,
    ) -> None:
        self.chooses_log_interval = kwargs.get("log_every_n_steps") is None
        self.pictures = pictures
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
        kwargs |= {"logger": logger, "precision": precision, "plugins": plugins}
        try:
            super().__init__(*args, **kwargs)
        except (ValueError, TypeError, ImportError, MisconfigurationException) as error:
            raise UserError(f"trainer: {error}") from error
        cluster.check_shape(self)
        cluster.check_cores(self, oversubscribe)
        lightning_fixes.correct(self)
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
        if self._chosen_because and self.precision == "bf16-mixed":
            rank_zero_info(
                f"Trains in bfloat16 where that is safe, because {self._chosen_because}. "
                "--trainer.precision 32-true computes in float32."
            )
        super().fit(*args, **kwargs)

"""Checkpoints that are whole or absent, and how to find one."""

import os
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from runtime import files
from runtime.schedule import epoch_is_due


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, then renames.

    Lightning writes to a temporary file in $TMPDIR. If that is on another file system, the last
    step is a copy, and a process that is killed during it leaves half a checkpoint.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, lambda partial: torch.save(checkpoint, partial))


class _AtEpochs(ModelCheckpoint):
    """Saves nothing within an epoch, and so does not collect the metrics after each batch."""

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        pass


class EpochCheckpoint(_AtEpochs):
    """Saves at the end of each epoch and of the run, and keeps the last few.

    Args:
        keep_last: How many checkpoints to keep; -1 keeps all. `last.ckpt` is a link to the newest.
        min_steps: If an epoch is shorter than this, save only every few epochs.
    """

    def __init__(self, keep_last: int = 2, min_steps: int = 200) -> None:
        if keep_last < -1 or keep_last == 0:
            raise MisconfigurationException(
                f"checkpoint.keep_last is {keep_last}: set it to 1 or more, or to -1 to keep all; "
                "--trainer.enable_checkpointing false writes no checkpoint"
            )
        super().__init__(
            filename="epoch={epoch:03d}-step={step:07d}",
            auto_insert_metric_name=False,
            monitor="step",  # the highest step is the newest checkpoint
            mode="max",
            save_top_k=keep_last,
            save_on_train_epoch_end=True,  # otherwise at validations, which may be rarer
            enable_version_counter=False,  # a resumed run writes the same names again
        )
        self.min_steps = min_steps

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not epoch_is_due(trainer, self.min_steps):
            return
        before = self.best_model_path
        super().on_train_epoch_end(trainer, pl_module)
        if self.best_model_path != before:
            self._link_last(trainer, Path(self.best_model_path))

    def _link_last(self, trainer: Trainer, newest: Path) -> None:
        """Points `last.ckpt` to the newest checkpoint, so that there is one at any moment."""
        if trainer.is_global_zero:
            link = newest.with_name("last.ckpt.tmp")
            link.unlink(missing_ok=True)
            link.symlink_to(newest.name)
            link.replace(newest.with_name("last.ckpt"))
        trainer.strategy.barrier()


class BestCheckpoint(_AtEpochs):
    """Keeps `best.ckpt`, the checkpoint with the lowest `val/frechet`, if samples are scored."""

    def __init__(self) -> None:
        super().__init__(
            filename="best", monitor="val/frechet", mode="min", enable_version_counter=False
        )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.monitor in trainer.callback_metrics:
            super().on_train_epoch_end(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.monitor in trainer.callback_metrics:
            super().on_validation_end(trainer, pl_module)


def is_readable(path: Path) -> bool:
    """Returns whether torch can read a file as a checkpoint, without loading its tensors."""
    try:
        torch.load(path, map_location="meta", weights_only=True, mmap=True)
    except (RuntimeError, OSError, EOFError, ValueError, UnpicklingError):
        return False
    return True


def resolve(wanted: str | Path, runs: Path) -> Path:
    """Finds the checkpoint that `--ckpt_path` means.

    Args:
        wanted: A file; a folder, for the newest `checkpoints/last.ckpt` in or below it; `last` or
            `best`, for the newest of that name below `runs`; or `RUN/best`.
        runs: The folder of this experiment's runs.
    """
    path, found = Path(wanted), None
    if path.name == "best" and not path.exists():
        folder = runs if wanted == "best" else path.parent
        found = max(folder.glob("**/best.ckpt"), key=os.path.getmtime, default=None)
        problem = (
            f"no best.ckpt below {folder}. GANs whose samples are scored in training keep one; "
            "'last' is the newest checkpoint."
        )
    elif wanted == "last" or path.is_dir():
        folder = runs if wanted == "last" else path
        found = newest(folder)
        problem = f"no checkpoint below {folder}. Train first, or name a file."
    elif path.is_file():
        found = path if is_readable(path) else None
        problem = (
            "not a checkpoint that can be read. Give another, or a run folder, for its newest."
        )
    else:
        problem = (
            "no such file or folder. Give a checkpoint, a run folder, or 'last' for the newest run "
            f"below {runs}."
        )
    if found is None:
        raise MisconfigurationException(f"--ckpt_path {wanted}: {problem}")
    return found


def newest(folder: Path) -> Path | None:
    """Returns the newest readable checkpoint in or below a folder; None if there is none."""
    by_age = sorted(folder.glob("**/[!.]*.ckpt"), key=os.path.getmtime, reverse=True)
    last = [path for path in by_age if path.name == "last.ckpt"][:1]
    for path in last + by_age:
        if is_readable(path):
            if last and path != last[0]:
                rank_zero_warn(f"{last[0]} cannot be read; going back to {path}.")
            return path
    return None

"""When a run saves checkpoints, and how to find one."""

import difflib
import os
import re
import time
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from runtime import background
from runtime.checkpoint_files import RESUMABLE, BadCheckpointError, link, verify
from runtime.errors import UserError
from runtime.ranges import NonNegative, check_ranges
from runtime.schedule import epoch_is_due


class _AtEpochs(ModelCheckpoint):
    """Saves nothing within an epoch, and so does not collect the metrics after each batch."""

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        pass


class EpochCheckpoint(_AtEpochs):
    """Saves at the end of each epoch and of the run, and keeps the last few.

    Args:
        keep_last: How many checkpoints to keep; -1 keeps all. `last.ckpt` is a link to the newest.
        min_steps: If an epoch is shorter than this, save only every few epochs.
        background: Train on while the file is written from a copy in memory. A failure to write
            ends the run at the next save.
    """

    def __init__(
        self, keep_last: int = 2, min_steps: NonNegative = 200, background: bool = False
    ) -> None:
        check_ranges(EpochCheckpoint, locals(), "checkpoint.")
        if keep_last < -1 or keep_last == 0:
            raise UserError(
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
        self.background = background

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if self.background and stage == "fit":
            background.start(trainer)

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
            background.submit(trainer, link, newest.with_name("last.ckpt"), newest)
        trainer.strategy.barrier()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        background.flush(trainer)


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


def problem_of(path: Path) -> str:
    """Returns what is wrong with a checkpoint; empty if nothing is."""
    try:
        verify(path)
    except BadCheckpointError as error:
        return str(error)
    return ""


def resolve(
    wanted: str | Path, runs: Path, resume: bool = False, option: str = "--ckpt_path"
) -> Path:
    """Finds the checkpoint that `--ckpt_path` or another option means.

    Args:
        wanted: A file; a folder, for the newest `checkpoints/last.ckpt` in or below it; `last` or
            `best`, for the newest of that name below `runs`; or `RUN/best`.
        runs: The folder of this experiment's runs.
        resume: The run will go on, for which weights alone are not enough.
        option: The name of the option, for messages.
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
    elif path.is_file() or path.is_symlink():
        found = path
    else:
        there = [other.name for other in path.parent.glob("[!.]*")]
        near = difflib.get_close_matches(path.name, there, n=1)
        remedy = f"Give a checkpoint, a run folder, or 'last' for the newest run below {runs}."
        remedy = f"Did you mean {path.parent / near[0]}?" if near else remedy
        problem = f"no such file or folder. {remedy}"
    if found is None:
        raise UserError(f"{option} {wanted}: {problem}")
    if wrong := problem_of(found):
        raise UserError(
            f"{option} {wanted}: {wrong}. Give another, or a run folder, for its newest."
        )
    if resume and (missing := _missing_to_resume(found)):
        raise UserError(
            f"--ckpt_path {wanted}: it has weights but no {missing}, so the run cannot go on from "
            "it. Use it with test, sample or predict, or give a checkpoint of a run."
        )
    return found


def choice(wanted: str | Path, runs: Path, found: Path) -> str:
    """Says which run a folder or `last` means, of several; empty if there is no choice."""
    folder = runs if wanted == "last" else Path(wanted)
    several = {path.parent for path in folder.glob("**/[!.]*.ckpt")}
    if len(several) < 2:
        return ""
    run = found.parent.parent if found.parent.name == "checkpoints" else found.parent
    step = step_of(found)
    at = "" if step is None else f", step {step:,}"
    return f"{folder} has {len(several)} runs: {run.relative_to(folder)}, the newest{at}."


def _missing_to_resume(path: Path) -> str:
    content = torch.load(path, map_location="meta", weights_only=True, mmap=True)
    return ", ".join(key for key in RESUMABLE if key not in content)


def step_of(path: str | Path | None) -> int | None:
    """Returns the step at which a checkpoint was saved; None if it does not say."""
    if path is None or not Path(path).is_file():
        return None
    content = torch.load(path, map_location="meta", weights_only=True, mmap=True)
    return content.get("global_step")


def newest(folder: Path) -> Path | None:
    """Returns the newest checkpoint in or below a folder that is sound; None if there is none.

    Dates decide only between runs. Within a run it is `last.ckpt`, then the one of the highest
    step, because a clock may have jumped.
    """
    runs: dict[Path, list[Path]] = {}
    for path in folder.glob("**/[!.]*.ckpt"):
        runs.setdefault(path.parent, []).append(path)
    seen: set[Path] = set()
    for run in sorted(runs, key=lambda run: _rank_of_run(run, runs[run]), reverse=True):
        for path in sorted(runs[run], key=_rank_in_run, reverse=True):
            if path.resolve() in seen:
                continue
            seen.add(path.resolve())
            if wrong := problem_of(path):
                rank_zero_warn(f"{path}: {wrong}. Going back to the checkpoint before it.")
                continue
            if len(runs) > 1 and path.stat().st_mtime > time.time() + 60:
                rank_zero_warn(
                    f"{path} is dated in the future, because a clock has jumped. If another run is "
                    "newer, give its folder as --ckpt_path."
                )
            return path
    return None


def _rank_of_run(run: Path, paths: list[Path]) -> tuple[bool, float]:
    of_a_run = run.name == "checkpoints" or run / "last.ckpt" in paths
    return of_a_run, max(path.lstat().st_mtime for path in paths)


def _rank_in_run(path: Path) -> tuple[bool, int, float]:
    step = re.search(r"step=(\d+)", path.name)
    return path.name == "last.ckpt", int(step[1]) if step else -1, path.lstat().st_mtime

"""Checkpoints of a run: at the end of epochs, within them, and of the best weights."""

import os
from collections.abc import Mapping
from functools import cached_property
from math import inf
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.fabric.utilities.types import _Stateful
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import MLFlowLogger, WandbLogger
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from callbacks.recording import datamodule_of
from datamodules.provenance import keep_seen
from models.classifier import Classifier
from runtime import lightning_fixes
from runtime.checkpoints import (
    BadCheckpointError,
    contents,
    epoch_is_due,
    is_over,
    link,
    problem_of,
)
from runtime.ranges import NonNegative, ranged

Kept: Any = ranged("Kept", int, (">=", -1), ("!=", 0))  # checkpoints; -1: all
FILES = ("best_model_path", "kth_best_model_path", "last_model_path")  # of a callback's state


class EpochCheckpoint(ModelCheckpoint):
    """Saves at the end of each epoch and of the run, and keeps the last few.

    `best.ckpt` keeps the weights with the lowest `val/loss` of a classifier, and `val/frechet` of a
    model whose samples are scored.

    Args:
        keep_last: How many checkpoints to keep, by default two, in case one is damaged; -1 keeps
            all. `last.ckpt` is a link to the newest.
        min_steps: If an epoch is shorter than this, save only every few epochs.
        every_n_steps: Also save within an epoch, after each of this many steps; 0: do not.
    """

    def __init__(
        self,
        keep_last: Kept = 2,
        min_steps: NonNegative = 200,
        every_n_steps: NonNegative = 0,
    ) -> None:
        super().__init__(
            filename="epoch={epoch:03d}-step={step:07d}",
            auto_insert_metric_name=False,
            monitor="step",  # the highest step is the newest checkpoint
            mode="max",
            save_top_k=keep_last,
            save_on_train_epoch_end=True,  # otherwise at validations, which may be rarer
            enable_version_counter=False,  # a resumed run writes the same names again
        )
        self.min_steps, self.every_n_steps = min_steps, every_n_steps
        self.initial: Path | None = None  # checkpoint with the first weights of a new run
        self._lowest = inf  # score of best.ckpt
        self._stepped = False  # an optimizer, in this batch
        self._waits = False  # for the validation after this batch

    @cached_property
    def state_key(self) -> str:
        """Lightning's, which it would write anew for each hook of each step."""
        return super().state_key

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Warns if the loader saves no position, and removes checkpoints that the run forgot.

        They are left if it was killed between a save and the removal of the one before.
        """
        super().on_train_start(trainer, pl_module)
        if not isinstance(trainer.train_dataloader, _Stateful):
            rank_zero_info(
                "The training loader has no state_dict and does not save its position: after a "
                "stop within an epoch, the run continues with the first batches of an epoch."
            )
        if not trainer.is_global_zero:  # another rank would read what this one removes
            return
        keep_seen(self._best.parent, datamodule_of(trainer), trainer.ckpt_path or self.initial)
        known = {Path(path) for path in self.best_k_models}
        if not known:
            return
        for path in {*self._folder.glob("epoch=*-step=*.ckpt")} - known:
            step = path.stem.rpartition("=")[2]
            if step.isdecimal() and int(step) < trainer.global_step and self._has_saved(path):
                path.unlink(missing_ok=True)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"lowest": self._lowest}

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Saves no path, and adds the runs of W&B and MLflow that a resumed run continues."""
        states = checkpoint["callbacks"]
        for callback in _savers(trainer, states):
            states[callback.state_key] = _with_names(callback, states[callback.state_key])
        remote = [log for log in trainer.loggers if isinstance(log, WandbLogger | MLFlowLogger)]
        if remote:
            checkpoint["logger_runs"] = [(type(log).__name__, log.version) for log in remote]

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Looks for the files of a state in the folder of its callback, by their names.

        Whoever made the checkpoint could name any other file, which the callback would remove.
        """
        states = checkpoint["callbacks"]
        try:
            for callback in _savers(trainer, states):
                folder = Path(str(callback.dirpath))
                there = [path.relative_to(folder).as_posix() for path in folder.rglob("*")]
                there = trainer.strategy.broadcast(there)  # all ranks must know the same files
                key = callback.state_key
                states[key] = _with_own_files(callback, states[key], there)
            if self._best.exists():
                self._lowest = _lowest_in(states, self.state_key)
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise BadCheckpointError(
                f"{trainer.ckpt_path}: the states of its callbacks are damaged: give another"
            ) from error

    @property
    def _folder(self) -> Path:
        return Path(str(self.dirpath))

    @property
    def _best(self) -> Path:
        return self._folder / "best.ckpt"

    def _has_saved(self, path: Path) -> bool:
        """Returns whether this callback, and no other, wrote a file: then it names itself."""
        if problem_of(path):
            return False
        own = contents(path).get("callbacks", {}).get(self.state_key)
        names = own.get("best_k_models") if isinstance(own, dict) else None
        return path.name in {Path(str(name)).name for name in names or ()}

    def on_before_optimizer_step(self, *_: Any) -> None:
        self._stepped = True

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Saves within an epoch, if that is wanted.

        Gradients that still accumulate are in no checkpoint. After the last batch of an epoch
        Lightning would resume without validation and without the epoch's end, and before a
        validation within it, behind that.
        """
        stepped, self._stepped = self._stepped, False
        if not self.every_n_steps or not stepped or trainer.is_last_batch:
            return
        if trainer.global_step % self.every_n_steps == 0 and not is_over(trainer):
            self._waits = lightning_fixes.validates_next(trainer)
            if not self._waits:
                super().on_train_epoch_end(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        name = "val/loss" if isinstance(pl_module, Classifier) else "val/frechet"
        score = float(trainer.callback_metrics.get(name, inf))
        trains = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        if trains and score < self._lowest:
            self._lowest = score
            trainer.save_checkpoint(self._best, weights_only=True)
        if self._waits:
            self._waits = False
            super().on_train_epoch_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if epoch_is_due(trainer, self.min_steps):
            super().on_train_epoch_end(trainer, pl_module)

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        """Saves and links a checkpoint, before Lightning removes an older one."""
        super()._save_checkpoint(trainer, filepath)
        if trainer.is_global_zero:
            link(Path(filepath).with_name("last.ckpt"), Path(filepath))
        trainer.strategy.barrier()


def _savers(trainer: Trainer, states: Mapping[str, Any]) -> list[ModelCheckpoint]:
    """Returns the callbacks that save checkpoints, here and in a checkpoint's states."""
    savers = [call for call in trainer.checkpoint_callbacks if isinstance(call, ModelCheckpoint)]
    return [callback for callback in savers if callback.state_key in states]


def _with_names(callback: ModelCheckpoint, state: dict[str, Any]) -> dict[str, Any]:
    """Returns a state with names in the place of paths."""

    def name(path: str) -> str:
        return os.path.relpath(path, callback.dirpath) if path else ""

    scores = {name(path): score for path, score in state.get("best_k_models", {}).items()}
    names = {key: name(state.get(key, "")) for key in FILES}
    return state | names | {"dirpath": "", "best_k_models": scores}


def _with_own_files(callback: ModelCheckpoint, state: Any, names: list[str]) -> dict[str, Any]:
    """Returns a state that has, of its files, those with these names in the callback's folder."""

    def own(path: str) -> str:
        same = [name for name in names if f"/{path}".endswith(f"/{name}")]
        return os.path.join(str(callback.dirpath), max(same, key=len)) if same else ""

    known = state.get("best_k_models", {})
    scores = {own(path): score.reshape(()) for path, score in known.items() if own(path)}
    worst = (max if callback.mode == "min" else min)(scores, key=scores.__getitem__, default="")
    own_state = callback.state_dict() | state | {key: own(state.get(key, "")) for key in FILES}
    return own_state | {
        "dirpath": callback.dirpath,
        "best_k_models": scores,
        "kth_best_model_path": worst,
    }


def _lowest_in(states: Mapping[str, Any], key: str) -> float:
    """Returns the score of `best.ckpt`, also from the callback of an earlier version."""
    older = [state for name, state in states.items() if name.startswith("BestCheckpoint")]
    scores = [state["best_model_score"] for state in older] + [states.get(key, {}).get("lowest")]
    return next((float(score) for score in scores if score is not None), inf)

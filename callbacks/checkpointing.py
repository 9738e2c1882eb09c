"""Checkpoints of a run: at the end of epochs, within them, and of the best weights."""

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

from models.classifier import Classifier
from runtime import lightning_fixes
from runtime.checkpoints import contents, epoch_is_due, is_over, link, problem_of
from runtime.ranges import NonNegative, ranged

Kept: Any = ranged("Kept", int, (">=", -1), ("!=", 0))  # checkpoints; -1: all


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
        self._lowest = inf  # score of best.ckpt
        self._stepped = False  # an optimizer, in this batch
        self._waits = False  # for the validation after this batch

    @cached_property
    def state_key(self) -> str:
        """Lightning's, which it would write anew for each hook of each step."""
        return super().state_key

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Warns if the loader saves no position, and removes checkpoints that the run forgot.

        They are left if it was killed between a save and the removal of the one before. A run in
        another folder knows none, and leaves all.
        """
        super().on_train_start(trainer, pl_module)
        if not isinstance(trainer.train_dataloader, _Stateful):
            rank_zero_info(
                "The training loader has no state_dict and does not save its position: after a "
                "stop within an epoch, the run continues with the first batches of an epoch."
            )
        if not trainer.is_global_zero:  # another rank would read what this one removes
            return
        known = {Path(path) for path in self.best_k_models}
        for folder in {path.parent for path in known}:
            for path in {*folder.glob("epoch=*-step=*.ckpt")} - known:
                step = path.stem.rpartition("=")[2]
                if step.isdecimal() and int(step) < trainer.global_step and self._has_saved(path):
                    trainer.strategy.remove_checkpoint(path)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"lowest": self._lowest}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Knows its files again if the same folder is named otherwise."""
        here = str(self.dirpath)
        if Path(state_dict.get("dirpath", here)).resolve() == Path(here).resolve():
            state_dict = state_dict | {"dirpath": self.dirpath}
        super().load_state_dict(state_dict)
        if self._best.exists():
            self._lowest = state_dict.get("lowest", self._lowest)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Adds the runs of W&B and MLflow that a resumed run continues."""
        remote = [log for log in trainer.loggers if isinstance(log, WandbLogger | MLFlowLogger)]
        if remote:
            checkpoint["logger_runs"] = [(type(log).__name__, log.version) for log in remote]

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Reads the best score that the callback of an earlier version saved."""
        for name, state in checkpoint["callbacks"].items():
            if name.startswith("BestCheckpoint") and state["best_model_score"] is not None:
                self._lowest = float(state["best_model_score"]) if self._best.exists() else inf

    @property
    def _best(self) -> Path:
        return Path(str(self.dirpath), "best.ckpt")

    def _has_saved(self, path: Path) -> bool:
        """Returns whether this callback, and no other, wrote a file: then it names itself."""
        if problem_of(path):
            return False
        own = contents(path).get("callbacks", {}).get(self.state_key, {})
        return str(path) in own.get("best_k_models", ())

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

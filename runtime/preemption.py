"""Pre-emption: a run that is told to stop saves itself, and can go on from there to the bit."""

import sys
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from runtime import signals
from runtime.schedule import is_over

TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h: "try the same again later"


class Preemption(Checkpoint):
    """On SIGTERM or SIGUSR1: one checkpoint at the end of a batch, then exit code 75.

    Lightning's own handlers save inside the signal handler, which deadlocks when ranks receive
    it milliseconds apart, and for SIGTERM save nothing. Here a handler only sets a flag; the
    ranks agree on it after each batch. A `Checkpoint`, so that Lightning calls it after every
    callback that changes state.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        signals.install()  # Lightning has put its own handlers in place since

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        window = getattr(pl_module, "accumulate_grad_batches", trainer.accumulate_grad_batches)
        # Gradients half accumulated are in no checkpoint. And Lightning skips validation and the
        # epoch's end when it resumes from the last batch of an epoch: that one waits as well.
        if (batch_idx + 1) % window or trainer.is_last_batch or is_over(trainer):
            return
        if self._told(trainer):
            trainer._logger_connector.on_batch_end()  # else this batch's metrics would be lost
            trainer._logger_connector.update_train_step_metrics()
            self._stop(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not is_over(trainer) and self._told(trainer):  # a run that is over saves itself
            self._stop(trainer)

    @staticmethod
    def _told(trainer: Trainer) -> bool:
        return trainer.strategy.reduce_boolean_decision(signals.stop_requested(), all=False)

    @staticmethod
    def _stop(trainer: Trainer) -> None:
        folder = trainer.log_dir  # a broadcast, so every rank asks
        if folder is None:
            raise SystemExit("Stopped by a signal; no logger, so no run folder to save to.")
        path = Path(folder) / "checkpoints" / "last.ckpt"
        trainer.save_checkpoint(path)
        rank_zero_info(f"Stopped by a signal after step {trainer.global_step}; saved {path}.")
        # Lightning's launcher kills all ranks when one of those it started exits with an error.
        sys.exit(TRY_AGAIN if trainer.is_global_zero else 0)

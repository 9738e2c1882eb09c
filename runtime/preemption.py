"""Pre-emption: a run that is told to stop saves itself, and can go on from there to the bit."""

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, Timer
from lightning.pytorch.trainer.connectors.signal_connector import _SignalConnector
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from runtime import signals
from runtime.schedule import is_over

TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h: "try the same again later"


class Preemption(Checkpoint):
    """On SIGTERM, SIGUSR1 or a time limit: one checkpoint after a batch, then exit code 75.

    Lightning's own handlers save, or talk to the other ranks, inside the signal handler, which
    deadlocks when ranks receive it milliseconds apart. Here a handler only sets a flag; the ranks
    agree on it after each batch. A `Checkpoint`, so that Lightning calls it after every callback
    that changes state.

    Args:
        max_time: Stop after this long, as `Trainer(max_time=...)` spells it. Lightning's own
            timer ends the epoch it falls in, so that a resumed run never sees the rest of it.
    """

    def __init__(self, max_time: str | timedelta | dict[str, int] | None = None) -> None:
        super().__init__()
        self._timer = Timer(max_time)
        self._agreement: Agreement | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        signals.install()
        take_signals_from(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._timer.on_train_start(trainer, pl_module)
        self._agreement = Agreement(trainer.world_size)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        # Resumed from an epoch's end, Lightning numbers what it logs one too high from there on.
        trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        window = getattr(pl_module, "accumulate_grad_batches", trainer.accumulate_grad_batches)
        # Gradients half accumulated are in no checkpoint. And Lightning skips validation and the
        # epoch's end when it resumes from the last batch of an epoch: that one waits as well.
        if (batch_idx + 1) % window or trainer.is_last_batch or is_over(trainer):
            return
        assert self._agreement is not None
        if self._agreement.reached(self._told()):
            trainer._logger_connector.on_batch_end()  # else this batch's metrics would be lost
            trainer._logger_connector.update_train_step_metrics()
            self._stop(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert self._agreement is not None
        # A run that is over saves itself.
        if not is_over(trainer) and self._agreement.reached(self._told(), wait=True):
            self._stop(trainer)

    def _told(self) -> bool:
        remaining = self._timer.time_remaining()
        return signals.stop_requested() or (remaining is not None and remaining <= 0)

    @staticmethod
    def _stop(trainer: Trainer) -> None:
        signals.ignore()  # SLURM may send several
        folder = trainer.log_dir  # a broadcast, so every rank asks
        if folder is None:
            raise SystemExit("Told to stop; no logger, so no run folder to save to.")
        path = Path(folder) / "checkpoints" / "last.ckpt"
        trainer.save_checkpoint(path)
        rank_zero_info(f"Told to stop after step {trainer.global_step}; saved {path}.")
        # Lightning's launcher kills all ranks when one of those it started exits with an error.
        sys.exit(TRY_AGAIN if trainer.is_global_zero else 0)


class Agreement:
    """Whether any rank was told to stop, answered on all ranks after the same batch.

    An answer is awaited one question later, when it has long come: no rank waits for another
    more than gradients make it, and a GPU's queue is never drained, since this talks over the
    CPU. The cost of a question grows with the number of ranks, so many ranks ask less often.
    """

    def __init__(self, world_size: int) -> None:
        self.every = 1 + world_size // 64
        self._calls = 0
        self._group = dist.new_group(backend="gloo") if world_size > 1 else None
        self._question: tuple[dist.Work, torch.Tensor] | None = None

    def reached(self, told: bool, wait: bool = False) -> bool:
        """To be called by all ranks alike.

        Args:
            told: Whether this rank was told to stop.
            wait: Whether to await the answer to this very question.
        """
        if self._group is None:
            return told
        self._calls += 1
        if not wait and self._calls % self.every:
            return False
        if self._answer():
            return True
        flag = torch.tensor(int(told))
        work = dist.all_reduce(flag, group=self._group, async_op=True)
        assert work is not None
        self._question = (work, flag)
        return wait and self._answer()

    def _answer(self) -> bool:
        if self._question is None:
            return False
        (work, flag), self._question = self._question, None
        work.wait()
        return bool(flag)


class _NoHandlers(_SignalConnector):
    """In place of Lightning's handlers of SIGTERM and of SLURM's signal: none."""

    def register_signal_handlers(self) -> None:
        pass


def take_signals_from(trainer: Trainer) -> None:
    """Keeps Lightning from installing its handlers, and from asking each batch whether they ran.

    The question is a broadcast whose answer is awaited, on a GPU until its queue is empty.
    """
    trainer._signal_connector = _NoHandlers(trainer)
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]

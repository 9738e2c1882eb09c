"""Pre-emption: a run saves a checkpoint on a stop signal and resumes bit-exactly."""

import shlex
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, Timer
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch.optim import Optimizer

from runtime import cluster, lightning_fixes, signals
from runtime.checkpoints import is_over
from runtime.signals import SAVED_EXIT_CODE


class Preemption(Checkpoint):
    """On SIGTERM, SIGUSR1, SIGUSR2, Ctrl-C or a time limit: saves after a batch, and exits with 75.

    A signal handler only sets a flag, and the ranks agree on it after each batch. This is a
    `Checkpoint`, so that Lightning calls it after every callback that changes state.

    Args:
        max_time: Time limit, in the formats of `Trainer(max_time=...)`. Lightning's own timer ends
            the current epoch, so a resumed run would never train on the rest of it.
        command: Start of the command that continues the run.
    """

    _agreement: "Agreement"

    def __init__(
        self,
        max_time: str | timedelta | dict[str, int] | None = None,
        command: str = "python cli.py fit",
    ) -> None:
        super().__init__()
        self._command = command
        self._timer = Timer(max_time)
        self._stepped = False  # an optimizer, in this batch

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._take_signals()
        lightning_fixes.disable_signal_handlers(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._take_signals()  # again, because a plain Trainer has installed its own
        self._timer.on_train_start(trainer, pl_module)
        self._agreement = Agreement(trainer.world_size)

    @staticmethod
    def _take_signals() -> None:
        signals.install()
        signals.install_interrupt()

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        self._stepped = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        stepped, self._stepped = self._stepped, False
        # Gradients that are still accumulating are in no checkpoint. The last batch of an epoch
        # waits too, because Lightning resumes after it without validation and the epoch's end;
        # so does one that a validation within the epoch follows.
        if not stepped or trainer.is_last_batch or is_over(trainer):
            return
        if lightning_fixes.validates_next(trainer):
            return
        if self._agreement.agree_to_stop(self._should_stop()):
            lightning_fixes.log_batch(trainer)
            self._stop(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # A run that is over saves itself.
        if not is_over(trainer) and self._agreement.agree_to_stop(self._should_stop(), wait=True):
            self._stop(trainer)

    def _should_stop(self) -> bool:
        remaining = self._timer.time_remaining()
        return signals.stop_requested() or (remaining is not None and remaining <= 0)

    def _stop(self, trainer: Trainer) -> None:
        signals.ignore()  # SLURM may send several
        folder = trainer.log_dir  # a broadcast, so every rank asks
        if folder is None:
            raise SystemExit(
                "Told to stop, but without a logger there is no run folder to save to."
            )
        path = Path(folder) / "checkpoints" / "last.ckpt"
        trainer.save_checkpoint(path, weights_only=False)  # explicit, to avoid Lightning's warning
        rank_zero_info(f"Told to stop after step {trainer.global_step}; saved {path}.")
        rank_zero_info(f"Continue: {self._command} --ckpt_path {shlex.quote(folder)}")
        # Lightning's launcher kills all ranks when one of those it started exits with an error, and
        # torchrun would start the run again, which would train on and begin its time limit anew.
        fails = trainer.is_global_zero and not cluster.is_restarted_by_torchrun()
        sys.exit(SAVED_EXIT_CODE if fails else 0)


class Agreement:
    """Lets all ranks stop after the same batch if any of them has to stop.

    Each call starts an asynchronous all-reduce over the CPU and reads the result of the previous
    one, which has already arrived. So no rank waits longer than for gradients, and a GPU's queue is
    not drained. The cost of an all-reduce grows with the number of ranks, so many ranks start one
    less often.
    """

    def __init__(self, world_size: int) -> None:
        self.every = 1 + world_size // 64
        self._calls = 0
        self._group = None
        if world_size > 1:
            store: Any = dist.distributed_c10d._get_default_store()  # has the other groups' limit
            self._group = dist.new_group(backend="gloo", timeout=store.timeout)
        self._question: tuple[dist.Work, torch.Tensor] | None = None

    def agree_to_stop(self, stop: bool, wait: bool = False) -> bool:
        """Returns whether the ranks agreed to stop. All ranks must call it after the same batches.

        With `wait`, waits for the result of this call instead of reading the previous one.
        """
        if self._group is None:
            return stop
        self._calls += 1
        if not wait and self._calls % self.every:
            return False
        if self._answer():
            return True
        flag = torch.tensor(int(stop))
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

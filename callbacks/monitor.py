"""The steps of a run, watched: how often it logs, its speed, and losses that are not finite."""

import math
import time
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from models.base import is_logging_step
from runtime.errors import RunFailedError
from runtime.preemption import Agreement

MIN_POINTS, MAX_EVERY = 50, 50  # least points of a curve, and most steps between two


class StepMonitor(Callback):
    """Chooses how often a run logs, logs its speed, and ends it if a loss is NaN or infinite.

    A run of 100 steps logs every second step, one of 2,500 or more steps every 50, unless
    `trainer.log_every_n_steps` says how often. The speed is in examples per second over all
    processes, for training alone.

    All ranks end together. On a CPU each loss is checked, on a GPU those of logging steps, because
    reading a loss waits until the GPU has finished its queue.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._agreement = Agreement(trainer.world_size)
        self._found = ""  # what this process found first
        if getattr(trainer, "chooses_log_interval", False):
            steps = trainer.estimated_stepping_batches
            known = steps != -1 and not math.isinf(steps)
            chosen = min(MAX_EVERY, max(1, int(steps) // MIN_POINTS)) if known else MAX_EVERY
            trainer.log_every_n_steps = chosen  # type: ignore[attr-defined]  # a connector's
        self._examples, self._seconds = 0, 0.0
        self._mark = time.perf_counter()  # because a run resumed within an epoch has no epoch start

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._mark = time.perf_counter()

    on_validation_end = on_train_epoch_start

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self._due = trainer.global_step + 1 if is_logging_step(trainer) else None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not is_asynchronous(pl_module.device) or is_logging_step(trainer):
            losses = _losses(pl_module, outputs).items()
            bad = [f"loss '{name}'" for name, loss in losses if not loss.isfinite()]
            self._check(trainer, bad)
        before, self._mark = self._mark, time.perf_counter()
        self._seconds += self._mark - before
        self._examples += count_examples(batch) * trainer.world_size
        if trainer.global_step == self._due:  # Not while gradients accumulate.
            speed = self._examples / self._seconds
            pl_module.log("train/examples_per_s", speed, prog_bar=True, batch_size=1)
            self._examples, self._seconds = 0, 0.0

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks the weights as well, which checkpoints are about to keep."""
        finite = all(w.isfinite().all() for w in pl_module.parameters())
        self._check(trainer, [] if finite else ["weights"], wait=True)

    def _check(self, trainer: Trainer, bad: list[str], wait: bool = False) -> None:
        """Ends the run if something was found on any rank."""
        if bad and not self._found:
            self._found = f"{bad[0]}: {_place(trainer)}"
        if not self._agreement.agree_to_stop(bool(self._found), wait=wait):
            return
        found = self._found or f"a loss of another process: {_place(trainer)}"
        rates = ", ".join(f"{o.param_groups[0]['lr']:.3g}" for o in trainer.optimizers)
        raise RunFailedError(
            f"{found}, learning rate {rates}. {_saved(trainer)} Try a smaller learning rate, "
            "gradient clipping or --trainer.precision 32-true."
        )


def is_asynchronous(device: torch.device) -> bool:
    """Returns whether reading a number from this device waits for its queue."""
    return device.type != "cpu"


def count_examples(batch: Any) -> int:
    """Returns the length of the first tensor in a batch; 0 if there is none."""
    if isinstance(batch, Tensor):
        return len(batch) if batch.dim() else 1
    parts = batch.values() if isinstance(batch, dict) else batch
    found = map(count_examples, parts) if isinstance(batch, dict | list | tuple) else ()
    return next(filter(None, found), 0)


def _losses(model: LightningModule, outputs: Any) -> dict[str, Tensor]:
    """Returns the losses of the batch that just ended, by name."""
    losses = getattr(model, "losses", None)  # of `models.base.Module`, in manual mode as well
    if isinstance(losses, dict) and losses:
        return losses
    loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
    return {"loss": loss} if isinstance(loss, Tensor) else {}


def _place(trainer: Trainer) -> str:
    return f"NaN or infinite at step {trainer.global_step} (epoch {trainer.current_epoch})"


def _saved(trainer: Trainer) -> str:
    folder = trainer.log_dir  # a broadcast, so every rank asks
    last = Path(folder) / "checkpoints" / "last.ckpt" if folder else None
    if last is None or not last.exists():
        return "No checkpoint was saved before it."
    return f"The last checkpoint before it is {last}."

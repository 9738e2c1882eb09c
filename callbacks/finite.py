"""Stops a run whose loss or weights are no longer finite, before they replace a good checkpoint."""

import math
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from models.base import is_logging_step
from runtime.errors import RunFailedError
from runtime.preemption import Agreement


class FiniteLoss(Callback):
    """Ends a run at the first batch whose loss is NaN or infinite, on all ranks together.

    On a CPU each batch is checked. On a GPU, which would have to finish its queue for that, the
    step of the first bad loss is noted on the device and read at logging steps.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._agreement = Agreement(trainer.world_size)
        self._first: dict[str, Any] = {}  # step of the first bad value of each loss; -1: none

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step, late = trainer.global_step, waits(pl_module.device)
        for name, loss in _losses(pl_module, outputs).items():
            first = self._first.get(name, -1)
            if late:
                bad = ~loss.detach().isfinite() & (torch.as_tensor(first, device=loss.device) < 0)
                self._first[name] = torch.where(bad, step, first)
            elif first < 0 and not math.isfinite(loss.item()):
                self._first[name] = step
        if not late or is_logging_step(trainer):
            self._check(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks the weights as well, which checkpoints are about to keep."""
        weights = all(w.isfinite().all() for w in pl_module.parameters())
        self._check(trainer, "" if weights else "weights", wait=True)

    def _check(self, trainer: Trainer, found: str = "", wait: bool = False) -> None:
        """Ends the run if something was found on any rank."""
        step = trainer.global_step
        bad = [(int(first), name) for name, first in self._first.items() if int(first) >= 0]
        if bad:
            step, name = min(bad)
            found = f"loss '{name}'"
        if not self._agreement.reached(bool(found), wait=wait):
            return
        rates = ", ".join(f"{o.param_groups[0]['lr']:.3g}" for o in trainer.optimizers)
        raise RunFailedError(
            f"{found or 'a loss of another process'}: NaN or infinite at step {step} "
            f"(epoch {trainer.current_epoch}), learning rate {rates}. {_saved(trainer)} Try a "
            "smaller learning rate, gradient clipping or --trainer.precision 32-true."
        )


def waits(device: torch.device) -> bool:
    """Returns whether reading a number from this device waits for its queue."""
    return device.type != "cpu"


def _losses(model: LightningModule, outputs: Any) -> dict[str, Tensor]:
    """Returns the losses of the batch that just ended, by name."""
    losses = getattr(model, "losses", None)  # of `models.base.Module`, in manual mode as well
    if isinstance(losses, dict) and losses:
        return losses
    loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
    return {"loss": loss} if isinstance(loss, Tensor) else {}


def _saved(trainer: Trainer) -> str:
    folder = trainer.log_dir  # a broadcast, so every rank asks
    last = Path(folder) / "checkpoints" / "last.ckpt" if folder else None
    if last is None or not last.exists():
        return "No checkpoint was saved before it."
    return f"The last checkpoint before it is {last}."

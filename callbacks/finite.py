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

    _agreement: Agreement

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._agreement = Agreement(trainer.world_size)
        self._first: dict[str, Tensor] = {}  # on a GPU: step of the first bad value; -1: none
        self._found: tuple[str, int] | None = None  # where, and the step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        losses = _losses(pl_module, outputs)
        if waits(pl_module.device):
            self._note(losses, trainer.global_step)
            if not is_logging_step(trainer):
                return
            self._read()
        else:
            self._look(losses, trainer.global_step)
        if self._agreement.reached(self._found is not None):
            self._fail(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks the weights as well, which checkpoints are about to keep."""
        self._read()
        if self._found is None and not all(w.isfinite().all() for w in pl_module.parameters()):
            self._found = "weights", trainer.global_step
        if self._agreement.reached(self._found is not None, wait=True):
            self._fail(trainer)

    def _look(self, losses: dict[str, Tensor], step: int) -> None:
        for name, loss in losses.items():
            if self._found is None and not math.isfinite(loss.item()):
                self._found = f"loss '{name}'", step

    def _note(self, losses: dict[str, Tensor], step: int) -> None:
        for name, loss in losses.items():
            first = self._first.setdefault(name, torch.full((), -1, device=loss.device))
            bad = ~loss.detach().isfinite() & (first < 0)
            self._first[name] = torch.where(bad, step, first)

    def _read(self) -> None:
        steps = {name: int(step) for name, step in self._first.items()}
        found = [(step, name) for name, step in steps.items() if step >= 0]
        if found and self._found is None:
            step, name = min(found)
            self._found = f"loss '{name}'", step

    def _fail(self, trainer: Trainer) -> None:
        what, step = self._found or ("a loss of another process", trainer.global_step)
        rates = ", ".join(f"{o.param_groups[0]['lr']:.3g}" for o in trainer.optimizers)
        raise RunFailedError(
            f"{what}: NaN or infinite at step {step} (epoch {trainer.current_epoch}), "
            f"learning rate {rates}. {_saved(trainer)} Try a smaller learning rate, gradient "
            "clipping or --trainer.precision 32-true."
        )


def waits(device: torch.device) -> bool:
    """Returns whether reading a number from this device waits for its queue."""
    return device.type != "cpu"


def _losses(model: LightningModule, outputs: Any) -> dict[str, Tensor]:
    """Returns the losses of the batch that just ended, by name."""
    if losses := getattr(model, "losses", None):  # of `models.base.Module`, in manual mode as well
        return losses
    loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
    return {"loss": loss} if isinstance(loss, Tensor) else {}


def _saved(trainer: Trainer) -> str:
    folder = trainer.log_dir  # a broadcast, so every rank asks
    last = Path(folder) / "checkpoints" / "last.ckpt" if folder else None
    if last is None or not last.exists():
        return "No checkpoint was saved before it."
    return f"The last checkpoint before it is {last}."

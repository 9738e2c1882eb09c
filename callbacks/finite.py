"""Stops a run whose loss or weights are no longer finite, before they replace a good checkpoint."""

from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from models.base import is_logging_step
from runtime.errors import RunFailedError
from runtime.preemption import Agreement


class FiniteLoss(Callback):
    """Ends a run whose loss is NaN or infinite, on all ranks together.

    On a CPU each batch is checked, on a GPU those of logging steps, because reading a loss waits
    until the GPU has finished its queue.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._agreement = Agreement(trainer.world_size)
        self._found = ""  # what this process found first

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not waits(pl_module.device) or is_logging_step(trainer):
            losses = _losses(pl_module, outputs).items()
            bad = [f"loss '{name}'" for name, loss in losses if not loss.isfinite()]
            self._check(trainer, bad)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks the weights as well, which checkpoints are about to keep."""
        finite = all(w.isfinite().all() for w in pl_module.parameters())
        self._check(trainer, [] if finite else ["weights"], wait=True)

    def _check(self, trainer: Trainer, bad: list[str], wait: bool = False) -> None:
        """Ends the run if something was found on any rank."""
        place = f"NaN or infinite at step {trainer.global_step} (epoch {trainer.current_epoch})"
        if bad and not self._found:
            self._found = f"{bad[0]}: {place}"
        if not self._agreement.reached(bool(self._found), wait=wait):
            return
        rates = ", ".join(f"{o.param_groups[0]['lr']:.3g}" for o in trainer.optimizers)
        raise RunFailedError(
            f"{self._found or f'a loss of another process: {place}'}, learning rate {rates}. "
            f"{_saved(trainer)} Try a smaller learning rate, gradient clipping or "
            "--trainer.precision 32-true."
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

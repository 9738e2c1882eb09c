"""Whether a run is well: gradient norms and memory, on logging steps alone."""

import resource
import sys
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch.optim import Optimizer


class Health(Callback):
    """Logs each optimizer's gradient norm before clipping, and this process's peak of memory.

    `train/grad_norm` (of a GAN `train/grad_norm_generator` and `..._discriminator`), of gradients
    averaged over the processes; `train/memory_gb`, on a GPU its tensors, else the whole process.
    """

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        if not _logs(trainer, trainer.global_step + 1):
            return
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.get_total_norm([g for g in gradients if g is not None])
        # networks that take turns have names
        names = [f"_{name}" for name in getattr(pl_module, "factories", [])] or [""]
        pl_module.log(f"train/grad_norm{names[trainer.optimizers.index(optimizer)]}", norm)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if _logs(trainer, trainer.global_step):
            pl_module.log("train/memory_gb", peak_memory(pl_module.device) / 1e9)


def _logs(trainer: Trainer, step: int) -> bool:
    every = trainer.log_every_n_steps  # type: ignore[attr-defined]  # set by a connector
    return bool(every) and step % every == 0


def peak_memory(device: torch.device) -> int:
    """Most bytes in use so far: of tensors on a CUDA device, else of this whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

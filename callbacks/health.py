"""Gradient norms and memory of a run, logged on logging steps."""

import resource
import sys

import torch
from lightning import Callback, LightningModule, Trainer
from torch.optim import Optimizer

from models.base import is_logging_step
from models.gan.alternating import AlternatingOptimization


class Health(Callback):
    """Logs each optimizer's gradient norm before clipping, and this process's peak memory.

    The gradients of `train/grad_norm` (or `train/grad_norm_<network>`) are averaged over processes.
    """

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        if not is_logging_step(trainer):
            return
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        name = "train/grad_norm"
        if isinstance(pl_module, AlternatingOptimization):
            name += f"_{list(pl_module.factories)[trainer.optimizers.index(optimizer)]}"
        pl_module.log(name, norm)
        pl_module.log("train/memory_gb", peak_memory(pl_module.device) / 1e9)


def peak_memory(device: torch.device) -> int:
    """Returns the peak in bytes: of tensors on a CUDA device, otherwise of the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

"""Gradients averaged over the processes that share a run."""

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import nn
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors


def average_gradients(parameters: Iterable[nn.Parameter], world_size: int) -> None:
    """Replaces each gradient by its mean over the ranks, in one all-reduce.

    Networks that take turns are averaged one at a time, each when its own update is due. Plain
    DDP cannot do that: it expects every parameter's gradient in every backward.
    """
    if world_size == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = _flatten_dense_tensors(gradients)
    dist.all_reduce(flat)
    flat /= world_size
    torch._foreach_copy_(gradients, list(_unflatten_dense_tensors(flat, gradients)))

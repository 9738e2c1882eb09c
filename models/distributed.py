"""Averaging gradients over the processes that share a run."""

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import nn


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replaces each gradient by its mean over all processes, with one all-reduce per data type.

    DDP cannot do this for networks that take turns, because it expects a gradient of every
    parameter in every backward pass. Parameters without a gradient are left out, so all processes
    must have gradients for the same parameters.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    for dtype in dict.fromkeys(gradient.dtype for gradient in gradients):
        group = [gradient for gradient in gradients if gradient.dtype == dtype]
        flat = torch.cat([gradient.reshape(-1) for gradient in group])
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        for gradient, mean in zip(group, flat.split([g.numel() for g in group]), strict=True):
            gradient.copy_(mean.view_as(gradient))

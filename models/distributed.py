"""Distributed training: means of gradients, and each process's part of random numbers."""

from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

_all_reduce_seconds = [0.0]  # of `average_gradients` in this process


def is_distributed() -> bool:
    """Returns whether several processes share this run."""
    return dist.is_available() and dist.is_initialized()


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replaces each gradient by its mean over all processes, with one all-reduce per data type.

    DDP cannot do this for networks that take turns, because it expects a gradient of every
    parameter in every backward pass. All processes must have gradients for the same parameters.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    for dtype in dict.fromkeys(gradient.dtype for gradient in gradients):
        group = [gradient for gradient in gradients if gradient.dtype == dtype]
        flat = torch.cat([gradient.reshape(-1) for gradient in group])
        began = perf_counter()
        dist.all_reduce(flat)
        _all_reduce_seconds[0] += perf_counter() - began
        flat /= dist.get_world_size()
        for gradient, mean in zip(group, flat.split([g.numel() for g in group]), strict=True):
            gradient.copy_(mean.view_as(gradient))


def exchange_seconds(strategy_model: Any) -> float:
    """Returns how long this process has waited for gradients so far, in seconds, on a CPU.

    That is for slower processes, and for the transfer after the backward pass. A GPU exchanges in
    its own queue. The first call asks DDP to time every step from then on.
    """
    if not isinstance(strategy_model, DistributedDataParallel):
        return _all_reduce_seconds[0]
    strategy_model._set_ddp_runtime_logging_sample_rate(1)
    means = strategy_model._get_ddp_logging_data()  # in nanoseconds, over all steps
    mean = means.get("avg_backward_comm_time", 0)
    mean -= means.get("avg_backward_compute_comm_overlap_time", 0)
    return _all_reduce_seconds[0] + mean * means.get("iteration", 0) / 1e9


def draw_local(
    draw: Callable[..., Tensor], count: int, *shape: int, joined: int = 1, **kwargs: Any
) -> Tensor:
    """Draws random numbers for the global batch and returns this process's rows.

    So a run does not depend on the number of processes. All must have seeded their generators
    equally: see `Module.on_train_batch_start`.

    Args:
        draw: A function of a shape, such as `torch.rand`.
        count: Examples in this process's batch.
        *shape: Shape of the numbers of one example.
        joined: Batches that are joined in this one, such as 2 for real and then generated images.
        **kwargs: For `draw`.

    Returns:
        A tensor (count, *shape).
    """
    if not is_distributed():
        return draw((count, *shape), **kwargs)
    size, rank = dist.get_world_size(), dist.get_rank()
    numbers = draw((count * size, *shape), **kwargs)
    return numbers.view(joined, size, count // joined, *shape)[:, rank].reshape(count, *shape)


def local_rows(batch: Tensor) -> tuple[int, slice]:
    """Returns the size of the global batch, and the slice of it on this process."""
    counts = all_gather_stacked(torch.tensor(len(batch), device=batch.device)).tolist()
    first = sum(counts[: dist.get_rank()]) if is_distributed() else 0
    return sum(counts), slice(first, first + len(batch))


def all_gather_stacked(value: Tensor) -> Tensor:
    """Returns the values of all W processes, stacked: (W, *shape)."""
    if not is_distributed():
        return value[None]
    values = [torch.empty_like(value) for _ in range(dist.get_world_size())]
    dist.all_gather(values, value)
    return torch.stack(values)


def all_gather(values: Tensor) -> Tensor:
    """Returns the values (B, ...) of all processes, concatenated in the order of ranks."""
    return all_gather_stacked(values.contiguous()).flatten(0, 1)


def local_part(values: Tensor) -> Tensor:
    """Returns this process's row of stacked values; their mean if the world size has changed."""
    size, rank = (dist.get_world_size(), dist.get_rank()) if is_distributed() else (1, 0)
    return values[rank] if len(values) == size else values.mean(dim=0)

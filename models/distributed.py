"""Gradients averaged over the processes that share a run."""

from collections.abc import Iterable
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors

BUCKET_BYTES = 4 * 2**20  # small networks go out at once: they are bound by latency


class GradientAverage:
    """The mean over all ranks of a network's gradients, taken while its backward pass goes on.

    Networks that take turns are averaged one at a time, each when its own update is due. Plain
    DDP cannot do that: it expects every parameter's gradient in every backward. As DDP does it,
    gradients wait in buckets, those of the last layers first; a bucket that is full goes out while
    backward computes the next, in the same order on all ranks.

    Args:
        parameters: Of the network, in the order of its forward pass.
        bucket_bytes: A bucket is full with this many.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], bucket_bytes: int = BUCKET_BYTES
    ) -> None:
        self.buckets = _in_buckets(reversed(list(parameters)), bucket_bytes)
        self._handles = [
            parameter.register_post_accumulate_grad_hook(partial(self._arrived, index))
            for index, bucket in enumerate(self.buckets)
            for parameter in bucket
        ]
        self._active = False
        self._sent: list[tuple[list[Tensor], Tensor, dist.Work]] = []

    def start(self) -> None:
        """To be called before the backward pass that completes the gradients."""
        self._active = True
        self._missing = [len(bucket) for bucket in self.buckets]
        self._next = 0  # bucket to set out

    def finish(self) -> None:
        """Waits for what is under way; afterwards each gradient is the mean over the ranks."""
        while self._next < len(self.buckets):  # some parameter had no gradient
            self._send()
        for gradients, flat, work in self._sent:
            work.wait()
            flat /= dist.get_world_size()
            torch._foreach_copy_(gradients, list(_unflatten_dense_tensors(flat, gradients)))
        self._sent = []
        self._active = False

    def remove(self) -> None:
        """Takes its hooks off the parameters."""
        for handle in self._handles:
            handle.remove()

    def _arrived(self, index: int, parameter: Tensor) -> None:
        if not self._active:
            return
        self._missing[index] -= 1
        while self._next < len(self.buckets) and self._missing[self._next] == 0:
            self._send()

    def _send(self) -> None:
        bucket = self.buckets[self._next]
        self._next += 1
        gradients = [parameter.grad for parameter in bucket if parameter.grad is not None]
        if gradients:
            flat = _flatten_dense_tensors(gradients)
            work = dist.all_reduce(flat, async_op=True)
            assert work is not None
            self._sent.append((gradients, flat, work))


def _in_buckets(parameters: Iterable[nn.Parameter], most: int) -> list[list[nn.Parameter]]:
    buckets: list[list[nn.Parameter]] = [[]]
    size = 0
    for parameter in parameters:
        buckets[-1].append(parameter)
        size += parameter.numel() * parameter.element_size()
        if size >= most:
            buckets.append([])
            size = 0
    return buckets if buckets[-1] else buckets[:-1]

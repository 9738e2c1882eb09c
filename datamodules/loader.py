"""Whole batches, cut from tensors that already lie on the training device."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor
from torch.utils.data import SequentialSampler


class BatchLoader:
    """An iterable of batches that knows its share of each batch and its place in the epoch.

    Training (``shuffle=True``): the order of the examples is a function of ``(seed, epoch)`` alone,
    whatever the device and the number of processes. The last partial batch is dropped, so that
    every step has the same size. Rank ``r`` of ``W`` takes rows ``[r * B / W, (r + 1) * B / W)``.

    Evaluation (``shuffle=False``): the original order, every example exactly once. Every rank gets
    the same number of batches, none empty (DDP synchronises buffers in each forward pass): shares
    of the last batch differ by one row at most, and a remainder with fewer rows than processes
    joins the batch before it.

    Args:
        tensors: Tensors with the same first dimension N, e.g. images (N, 1, 28, 28), labels (N,).
        batch_size: Examples in a batch over all processes together.
        rank: The place of this process among ``world_size``.
        world_size: The number of processes that share each batch.
        shuffle: Training or evaluation, as above.
        seed: Seed of the order; non-negative.
        current_epoch: Asked for the epoch when an iteration begins; without it, the epoch is what
            :meth:`set_epoch` was last told.

    Raises:
        MisconfigurationException: If the batch cannot be shared, or there is no whole batch.
    """

    batch_sampler = None  # Lightning reads this attribute of every loader that has a `sampler`

    def __init__(
        self,
        tensors: tuple[Tensor, ...],
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        *,
        shuffle: bool,
        seed: int = 0,
        current_epoch: Callable[[], int] | None = None,
    ) -> None:
        self.tensors = tensors
        self.batch_size = batch_size
        self.rank = rank
        self.world_size = world_size
        self.shuffle = shuffle
        self.seed = seed
        self.current_epoch = current_epoch
        self.epoch = 0
        self.num_examples = len(tensors[0])
        self._check()
        self._edges = self._batch_edges()
        self._position = 0  # batches of this epoch that were handed out
        self._start = 0  # where the next iteration begins

    def _check(self) -> None:
        size, world_size, n = self.batch_size, self.world_size, self.num_examples
        if size < 1 or size % world_size:
            raise MisconfigurationException(
                f"batch_size {size} cannot be shared equally by {world_size} processes: "
                f"set --data.batch_size to a positive multiple of {world_size}"
            )
        if self.shuffle and size > n:
            raise MisconfigurationException(
                f"batch_size {size} is larger than the {n} training examples: "
                f"set --data.batch_size to {n} or less"
            )
        if n < world_size:
            raise MisconfigurationException(
                f"{n} examples cannot be shared by {world_size} processes: "
                f"set --trainer.devices to {max(n, 1)} or less"
            )

    def _batch_edges(self) -> list[int]:
        n, size = self.num_examples, self.batch_size
        edges = list(range(0, n + 1, size))
        if not self.shuffle and edges[-1] < n:
            if n - edges[-1] < self.world_size:
                edges.pop()
            edges.append(n)
        return edges

    @property
    def sampler(self) -> Any:
        """Where Lightning looks for ``set_epoch`` (training) or for a fixed order (evaluation).

        With ``current_epoch`` it finds no ``set_epoch``: after a resume from the end of an epoch
        under ``max_steps``, Lightning 2.6 calls that with numbers one ahead of the epoch it is in.
        """
        if not self.shuffle:
            return SequentialSampler(range(self.num_examples))
        return self if self.current_epoch is None else None

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of ``epoch``. A new epoch starts at its first batch."""
        if epoch != self.epoch:
            self.epoch, self._position, self._start = epoch, 0, 0

    def __len__(self) -> int:
        return len(self._edges) - 1

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        # A generator: nothing below runs before the first next(). Lightning opens several iterators
        # before it sets the epoch and uses the last one.
        if self.current_epoch is not None:
            self.set_epoch(self.current_epoch())
        first, self._start = self._start, 0
        index = self._shuffled_index() if self.shuffle else None
        for i in range(first, len(self)):
            self._position = i + 1  # counts the batch while it is trained on: a checkpoint may ask
            if index is None:
                begin, end = self._share(i)
                yield tuple(tensor[begin:end] for tensor in self.tensors)
            else:
                yield tuple(tensor.index_select(0, index[i]) for tensor in self.tensors)

    def _share(self, i: int) -> tuple[int, int]:
        begin, end = self._edges[i : i + 2]
        size = end - begin
        return (
            begin + self.rank * size // self.world_size,
            begin + (self.rank + 1) * size // self.world_size,
        )

    def _shuffled_index(self) -> Tensor:
        """Rows of this rank in every batch of the epoch, (batches, B / W), on the device."""
        (state,) = np.random.SeedSequence([self.seed, self.epoch]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(state))
        order = torch.randperm(self.num_examples, generator=generator)[: self._edges[-1]]
        share = order.view(len(self), self.world_size, -1)[:, self.rank]
        return share.contiguous().to(self.tensors[0].device, non_blocking=True)

    def state_dict(self) -> dict[str, int]:
        """The place in the epoch, in batches, and what it depends on."""
        return {
            "position": self._position,
            "epoch": self.epoch,
            "seed": self.seed,
            "batch_size": self.batch_size,
        }

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue where ``state`` was taken, in the order of the seed it was taken with.

        Raises:
            MisconfigurationException: If the batch size has changed in the middle of an epoch.
        """
        position, size = state["position"], state["batch_size"]
        unfinished = 0 < position < self.num_examples // size
        if unfinished and size != self.batch_size:
            raise MisconfigurationException(
                f"the checkpoint stopped within an epoch of batch_size {size}, this run has "
                f"{self.batch_size}: resume with --data.batch_size {size}"
            )
        self.seed, self.epoch = state["seed"], state["epoch"]
        self._position = self._start = position if unfinished else 0

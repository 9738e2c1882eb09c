"""Whole batches, from tensors or from images in a file."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import SequentialSampler

from datamodules.store import StoredImages
from runtime.errors import UserError


class BatchLoader:
    """Iterates over this rank's rows of batches, and saves its position in the epoch.

    Training (`shuffle=True`): the order of the examples is a function of `(seed, epoch)` alone, for
    every device and number of processes. The last partial batch is dropped, so that all steps have
    the same size. Rank `r` of `W` takes rows `[r * B / W, (r + 1) * B / W)`.

    Evaluation (`shuffle=False`): the original order, every example exactly once. Every rank gets
    the same number of batches, none empty, because DDP synchronises buffers in each forward pass.
    Shares of the last batch differ by at most one row. A remainder with fewer rows than processes
    joins the batch before it.

    The arrays share their first dimension N. `batch_size` is the sum over all processes. With
    `classes` (N,), training takes as many examples of each class as of any other: an epoch has as
    many steps, with some examples of large classes left out and those of small ones repeated.
    `current_epoch` returns the epoch when an iteration begins; None: `set_epoch` tells it.

    Batches for a GPU that does not hold the arrays are in pinned memory.
    """

    batch_sampler = None  # Lightning reads this if a loader has a `sampler`.

    def __init__(
        self,
        arrays: tuple[Tensor | StoredImages, ...],
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        *,
        shuffle: bool,
        seed: int = 0,
        current_epoch: Callable[[], int] | None = None,
        classes: Tensor | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.arrays, self.num_examples = arrays, len(arrays[0])
        self.pins = device is not None and device.type == "cuda" != _device_of(arrays[0]).type
        self.batch_size, self.shuffle = batch_size, shuffle
        self.rank, self.world_size = rank, world_size
        self.seed, self.epoch, self.current_epoch = seed, 0, current_epoch
        self.classes = None if classes is None else classes.cpu()
        self._check()
        n = self.num_examples
        self._edges = list(range(0, n + 1, batch_size))  # first row of each batch, and the end
        if not shuffle and self._edges[-1] < n:
            if n - self._edges[-1] < world_size:
                self._edges.pop()
            self._edges.append(n)
        self._position = 0  # batches of this epoch that were handed out
        self._start = 0  # where the next iteration begins

    def _check(self) -> None:
        size, world_size, n = self.batch_size, self.world_size, self.num_examples
        if size < 1 or size % world_size:
            raise UserError(
                f"batch_size {size} cannot be shared equally by {world_size} processes: set "
                f"--data.batch_size to a positive multiple of {world_size}"
            )
        if self.shuffle and size > n:
            raise UserError(
                f"batch_size {size} is larger than the {n} training examples: "
                f"set --data.batch_size to {n} or less"
            )
        if n < world_size:
            raise UserError(
                f"{n} examples cannot be shared by {world_size} processes: "
                f"set --trainer.devices to {max(n, 1)} or less"
            )

    @property
    def sampler(self) -> Any:
        """Object in which Lightning looks for `set_epoch` (training) or a fixed order (evaluation).

        None if there is a `current_epoch`: after a resume from the end of an epoch under
        `max_steps`, Lightning 2.6 calls `set_epoch` with the number of the following epoch.
        """
        if not self.shuffle:
            return SequentialSampler(range(self.num_examples))
        return self if self.current_epoch is None else None

    def set_epoch(self, epoch: int) -> None:
        """Selects the order of `epoch`. A new epoch starts at its first batch."""
        if epoch != self.epoch:
            self.epoch, self._position, self._start = epoch, 0, 0

    def __len__(self) -> int:
        return len(self._edges) - 1

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        # This is a generator, so nothing below runs before the first next(). Lightning creates
        # several iterators before it sets the epoch, and uses the last one.
        if self.current_epoch is not None:
            self.set_epoch(self.current_epoch())
        first, self._start = self._start, 0
        index = self._shuffled_index() if self.shuffle else None
        rows = (self._share(i) if index is None else index[i] for i in range(first, len(self)))
        for i, batch in enumerate(map(self._take, rows), start=first):
            self._position = i + 1  # A checkpoint during this batch counts it as done.
            yield batch

    def _share(self, i: int) -> slice:
        """Returns this rank's rows in batch `i` of an evaluation."""
        begin, size = self._edges[i], self._edges[i + 1] - self._edges[i]
        return slice(*(begin + r * size // self.world_size for r in (self.rank, self.rank + 1)))

    def _take(self, rows: slice | Tensor) -> tuple[Tensor, ...]:
        parts = (
            array[rows] if isinstance(rows, slice) or isinstance(array, StoredImages)
            else array.index_select(0, rows)
            for array in self.arrays
        )  # fmt: skip
        return tuple(part.pin_memory() for part in parts) if self.pins else tuple(parts)

    def _shuffled_index(self) -> Tensor:
        """Returns this rank's rows in every batch of the epoch, (batches, B / W), on the device."""
        (state,) = np.random.SeedSequence([self.seed, self.epoch]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(state))
        order = self._order(generator)[: self._edges[-1]]
        share = order.view(len(self), self.world_size, -1)[:, self.rank]
        return share.contiguous().to(_device_of(self.arrays[0]), non_blocking=True)

    def _order(self, generator: torch.Generator) -> Tensor:
        """Returns the rows of an epoch (N,) at random, or of each class in turn."""
        if self.classes is None:
            return torch.randperm(self.num_examples, generator=generator)
        groups = [(self.classes == k).nonzero().flatten() for k in self.classes.unique()]
        count = -(-self.num_examples // len(groups))  # of each class
        turns = []
        for rows in groups:
            rounds = range(-(-count // len(rows)))
            orders = [rows[torch.randperm(len(rows), generator=generator)] for _ in rounds]
            turns.append(torch.cat(orders)[:count])
        return torch.stack(turns, dim=1).flatten()[: self.num_examples]

    def state_dict(self) -> dict[str, int]:
        """Returns the position in the epoch, in batches, and the values that it depends on."""
        state = {"position": self._position, "epoch": self.epoch}
        return state | {"seed": self.seed, "batch_size": self.batch_size}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continues at the position of `state`, in the order of its seed."""
        position, size = state["position"], state["batch_size"]
        unfinished = 0 < position < self.num_examples // size
        if unfinished and size != self.batch_size:
            raise UserError(
                f"the checkpoint stopped within an epoch of batch_size {size}, this run has "
                f"{self.batch_size}: resume with --data.batch_size {size}"
            )
        self.seed, self.epoch = state["seed"], state["epoch"]
        self._position = self._start = position if unfinished else 0


def _device_of(array: Tensor | StoredImages) -> torch.device:
    return array.device if isinstance(array, Tensor) else torch.device("cpu")

"""Saving in the background: a run goes on while a thread writes its checkpoint."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from lightning_utilities.core.apply_func import apply_to_collection

from runtime.errors import UserError

PENDING = 2  # copies in memory: the one that is being written, and the next


class BackgroundCheckpointIO(CheckpointIO):
    """Copies what it saves, and leaves the writing to a thread of the process that saves.

    The thread does all jobs in the order in which they came, so that a link to a checkpoint is made
    and an older one removed only after it is whole. After a failure it does nothing more, and the
    next save, load, `flush` or `teardown` raises the failure.

    Lightning's AsyncCheckpointIO is no base for this: it removes the older file at once, keeps as
    many copies as come, and goes on after a failure.

    Args:
        io: Writes, reads and removes the files.
    """

    def __init__(self, io: CheckpointIO) -> None:
        self.io = io
        self._thread: ThreadPoolExecutor | None = None  # without it, all is done at once
        self._saves: deque[Future[None]] = deque()
        self._failure: BaseException | None = None

    def start(self) -> None:
        """Saves in the background until `teardown`."""
        if self._thread is None:
            self._thread, self._failure = ThreadPoolExecutor(1, "checkpoints"), None
            self._saves.clear()

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        while len(self._saves) >= PENDING:
            self._saves.popleft().result()
        self._raise_failure()
        if self._thread is not None:
            # The clones are made in order with the training's kernels, before the next step.
            checkpoint = apply_to_collection(checkpoint, torch.Tensor, _copy)
        saved = self.submit(self.io.save_checkpoint, checkpoint, path, storage_options)
        if saved is not None:
            self._saves.append(saved)

    def remove_checkpoint(self, path: str | Path) -> None:
        self.submit(self.io.remove_checkpoint, path)

    def load_checkpoint(self, *args: Any, **kwargs: Any) -> Any:
        self.flush()
        return self.io.load_checkpoint(*args, **kwargs)

    def submit(self, job: Callable[..., None], *args: Any) -> Future[None] | None:
        """Does a job after all earlier ones."""
        if self._thread is None:
            job(*args)
            return None
        return self._thread.submit(self._do, job, *args)

    def _do(self, job: Callable[..., None], *args: Any) -> None:
        if self._failure is None:
            try:
                job(*args)
            except BaseException as failure:
                self._failure = failure

    def flush(self) -> None:
        """Waits until all jobs are done, and raises what failed."""
        if self._thread is not None:
            self._thread.submit(int).result()  # comes last
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._thread is not None and self._failure is not None:
            raise self._failure

    def teardown(self) -> None:
        """Flushes. Lightning calls this at the end of a run, however it ends."""
        try:
            self.flush()
        finally:
            if self._thread is not None:
                self._thread.shutdown()
            self._thread = None
            self.io.teardown()


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().clone()


def start(trainer: Trainer) -> None:
    """Lets a trainer save in the background until its run ends."""
    strategy = trainer.strategy
    if isinstance(strategy, FSDPStrategy | DeepSpeedStrategy | ModelParallelStrategy):
        name = type(strategy).__name__.removesuffix("Strategy")
        raise UserError(
            f"checkpoint.background: {name} writes its checkpoints itself, with all processes. "
            "Leave it out, or use --trainer.strategy ddp."
        )
    if not isinstance(strategy.checkpoint_io, BackgroundCheckpointIO):
        strategy.checkpoint_io = BackgroundCheckpointIO(strategy.checkpoint_io)
    strategy.checkpoint_io.start()


def submit(trainer: Trainer, job: Callable[..., None], *args: Any) -> None:
    """Does a job after all files that the trainer has saved are whole."""
    io = trainer.strategy.checkpoint_io
    if isinstance(io, BackgroundCheckpointIO):
        io.submit(job, *args)
    else:
        job(*args)


def flush(trainer: Trainer) -> None:
    """Waits, on all ranks, until all files that the trainer has saved are whole."""
    io = trainer.strategy.checkpoint_io
    if isinstance(io, BackgroundCheckpointIO):
        io.flush()
        trainer.strategy.barrier()

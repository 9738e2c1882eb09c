"""Callbacks through which a benchmark controls and times `Trainer.fit`."""

import os
import time
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from benchmarks.worker import Line


def wait_for_device() -> None:
    """Waits until the GPU, if there is one, has done all that was asked of it."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def leave() -> None:
    """Ends the process without a checkpoint or figures, because the run was only timed."""
    os._exit(0)


class Paced(Callback):
    """Lets `Trainer.fit` train the requested number of batches, then waits for the next request.

    A duration extends from the start of one batch to the start of another, with the loader and all
    callbacks and loggers.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.steps = Line().steps(wait_for_device)

    def on_train_batch_start(self, *_: Any) -> None:
        if next(self.steps, None) is None:
            leave()


class FirstStep(Callback):
    """Ends the process after its first batch, to time the start of a run."""

    def on_train_batch_end(self, *_: Any) -> None:
        wait_for_device()
        leave()


class CpuSeconds(Callback):
    """Prints the CPU-seconds of training alone, without the start of the process."""

    def on_train_start(self, *_: Any) -> None:
        self.began = time.process_time()

    def on_train_end(self, *_: Any) -> None:
        print(f"CPU-seconds of training: {time.process_time() - self.began:.1f}", flush=True)

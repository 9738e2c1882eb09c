"""Callbacks through which a parent process controls and times `Trainer.fit`."""

import os
import time
from collections.abc import Callable
from copy import copy
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from benchmarks.bare import classifier_step, endless, gan_step
from benchmarks.worker import Line, seconds_of
from models import GAN
from models.base import eval_mode


def wait_for_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def leave() -> None:
    """Ends the process without a checkpoint or figures, because the run was only timed."""
    os._exit(0)


class Fit(Callback):
    """Lets `Trainer.fit` train the requested number of batches, then waits for the next request.

    A duration extends from the start of one batch to the start of another, with the loader and all
    callbacks and loggers. A negative number requests that many steps without the Trainer, of the
    same model in this process, so that only the Trainer differs.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.line = Line() if trainer.is_global_zero else None
        self.bare: Callable[[], None] | None = None
        self.left, self.began = 0, 0.0
        if self.line:
            self.line.ready()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self.left == 0:
            wait_for_device()
            if self.line and self.began:
                self.line.report(time.perf_counter() - self.began)
            steps = self._without_trainer(trainer, pl_module) if self.line else 0
            self.left = trainer.strategy.broadcast(steps)
            if self.left == 0:
                leave()
            self.began = time.perf_counter()
        self.left -= 1

    def _without_trainer(self, trainer: Trainer, model: LightningModule) -> int:
        """Takes the requested bare steps and returns the number of Trainer steps that follow."""
        assert self.line is not None
        while (steps := self.line.receive()) < 0:
            self.bare = self.bare or bare_loop(trainer, model)
            self.line.report(seconds_of(self.bare, -steps, wait_for_device))
        return steps


class Bare(Callback):
    """Trains without the Trainer from the start."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        Line().serve(bare_loop(trainer, pl_module), wait_for_device)
        leave()


def bare_loop(trainer: Trainer, model: Any) -> Callable[[], None]:
    """Returns a training step on the Trainer's model, optimizers and data, without the Trainer."""
    autocast = trainer.precision_plugin.forward_context
    if isinstance(model, GAN):
        step = gan_step(model, trainer.optimizers, autocast)
    else:
        schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
        step = classifier_step(model, trainer.optimizers[0], schedulers, autocast)
    prepare = trainer.datamodule.on_after_batch_transfer  # type: ignore[attr-defined]
    batches = endless(copy(trainer.train_dataloader), prepare)
    return lambda: step(*next(batches))


class FirstStep(Callback):
    """Ends the process after its first batch, to time the start of a run."""

    def on_train_batch_end(self, *_: Any) -> None:
        wait_for_device()
        leave()


class TestAccuracy(Callback):
    """Reports CPU-seconds and accuracy on the official test images, then ends the run.

    The test images are read only after training.
    """

    def on_train_start(self, *_: Any) -> None:
        self.line = Line()
        self.began = time.process_time()

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        seconds = time.process_time() - self.began
        accuracy = test_accuracy(pl_module, trainer.datamodule)  # type: ignore[attr-defined]
        self.line.ready(cpu_seconds=seconds, accuracy=accuracy)
        leave()


@torch.no_grad()
def test_accuracy(model: Any, data: Any) -> float:
    """Returns the share of test images that the model, or its weight average, classifies right."""
    hits = count = 0
    with eval_mode(model):
        for batch in data.test_dataloader():
            images, labels = data.on_after_batch_transfer(batch, 0)
            hits += int((model(images).argmax(dim=1) == labels).sum())
            count += len(labels)
    return hits / count

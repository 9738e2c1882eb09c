"""Callbacks that let a parent process set the pace of `Trainer.fit`."""

import os
import time
from copy import copy
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from benchmarks.bare import Step, classifier_step, endless, gan_step
from benchmarks.worker import Line
from models import GAN


def wait_for_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def leave() -> None:
    os._exit(0)  # no checkpoint, no figures: the run was only to be timed


class Fit(Callback):
    """Lets `Trainer.fit` train as many batches as it is told to, and waits in between.

    Timed from one batch's start to another's: the loader, every callback and logger included. A
    negative number means that many steps without the Trainer, of the same model in this process,
    so that nothing but the Trainer differs.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.line = Line() if trainer.is_global_zero else None
        self.bare: BareLoop | None = None
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
        """Takes the steps that are to be bare; returns how many others come then."""
        assert self.line is not None
        while (steps := self.line.receive()) < 0:
            self.bare = self.bare or BareLoop(trainer, model)
            self.line.report(self.bare.seconds(-steps))
        return steps


class Bare(Callback):
    """Trains without the Trainer from the start."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        line = Line()
        loop = BareLoop(trainer, pl_module)
        line.ready()
        while steps := line.receive():
            line.report(loop.seconds(steps))
        leave()


class BareLoop:
    """The model, its optimizers and its data, taken from a Trainer and trained without it."""

    def __init__(self, trainer: Trainer, model: LightningModule) -> None:
        self.step = bare_step(trainer, model)
        prepare = trainer.datamodule.on_after_batch_transfer  # type: ignore[attr-defined]
        self.batches = endless(copy(trainer.train_dataloader), prepare)

    def seconds(self, steps: int) -> float:
        """Takes so many steps and says how long they took."""
        start = time.perf_counter()
        for _ in range(steps):
            batch, index = next(self.batches)
            self.step(batch, index)
        wait_for_device()
        return time.perf_counter() - start


def bare_step(trainer: Trainer, model: Any) -> Step:
    autocast = trainer.precision_plugin.forward_context
    if isinstance(model, GAN):
        return gan_step(model, trainer.optimizers, autocast)
    schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
    return classifier_step(model, trainer.optimizers[0], schedulers, autocast)


class FirstStep(Callback):
    """Ends the process after its first batch, for the time from the start to there."""

    def on_train_batch_end(self, *_: Any) -> None:
        wait_for_device()
        leave()

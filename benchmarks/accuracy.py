"""A callback that says how long training took and what the model gets right after it."""

import time
from typing import Any

import torch
from lightning import Callback, Trainer

from benchmarks.pacing import leave
from benchmarks.worker import Line
from models.sampling import eval_mode


class TestAccuracy(Callback):
    """Reports seconds, CPU-seconds and accuracy on the official test images, then ends the run.

    The test images are not looked at before training has ended.
    """

    def on_train_start(self, *_: Any) -> None:
        self.line = Line()
        self.began = time.perf_counter(), time.process_time()

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        wall, cpu = time.perf_counter() - self.began[0], time.process_time() - self.began[1]
        accuracy = test_accuracy(pl_module, trainer.datamodule)  # type: ignore[attr-defined]
        self.line.ready(seconds=wall, cpu_seconds=cpu, accuracy=accuracy)
        leave()


@torch.no_grad()
def test_accuracy(model: Any, data: Any) -> float:
    """Share of the test images that the model, averaged weights where it has them, names right."""
    hits = count = 0
    with eval_mode(model):
        for batch in data.test_dataloader():
            images, labels = data.on_after_batch_transfer(batch, 0)
            hits += int((model(images).argmax(dim=1) == labels).sum())
            count += len(labels)
    return hits / count

"""Says why a training on a CPU is slow: its threads wait for cores that other programs use."""

import time

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from runtime import threads

SECONDS = 10  # over which the use of the cores is averaged


class Contention(Callback):
    """Warns once if a training on a CPU has more threads than free cores.

    torch divides each operation among its threads and waits for the last one. Beside one other
    program, two threads on two cores can take 32 times as long as alone, one thread hardly longer
    (docs/speed.md). The number of threads is not changed, because results depend on it to
    rounding.
    """

    def __init__(self) -> None:
        self._before: threads.Usage | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        on_cpu = trainer.strategy.root_device.type == "cpu"
        if on_cpu and trainer.is_global_zero and torch.get_num_threads() > 1:
            self._before = threads.usage()

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        if (before := self._before) is None or time.perf_counter() < before.clock + SECONDS:
            return
        if (after := threads.usage()) is None:
            return
        others = threads.used_by_others(before, after)
        text = threads.advice(torch.get_num_threads(), after.cores, threads.allowed(), others)
        if text:
            rank_zero_warn(text)
        self._before = None if text else after

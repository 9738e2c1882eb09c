"""What the terminal shows while a run goes on, and how fast it goes."""

import time
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm


class Progress(TQDMProgressBar):
    """Lightning's bar with short names; drawing one costs half a millisecond, so every 20 steps."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=20)

    def init_validation_tqdm(self) -> Tqdm:
        return Tqdm(disable=True)  # validation takes a moment, and a line of the terminal each time

    def init_sanity_tqdm(self) -> Tqdm:
        return Tqdm(disable=True)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return {name.removeprefix("train/"): value for name, value in metrics.items()}


class Speed(Callback):
    """Logs images (or other examples) a second over all processes, training alone."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._examples, self._seconds = 0, 0.0
        self._mark = time.perf_counter()  # a run resumed within an epoch has no epoch start

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._mark = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._mark = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.perf_counter()
        self._examples += len(batch[0]) * trainer.world_size
        self._seconds += now - self._mark
        self._mark = now
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]  # set by a connector
        if every and trainer.global_step % every == 0:
            speed = self._examples / self._seconds
            pl_module.log("train/examples_per_s", speed, prog_bar=True)
            if trainer.world_size > 1:
                pl_module.log("train/examples_per_s_and_process", speed / trainer.world_size)
            self._examples, self._seconds = 0, 0.0

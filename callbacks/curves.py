"""The interval of a run's logs, its speed, and the curves at its end."""

import math
import re
import time
from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from figures.curves import STAGES, draw_curves, split_name
from figures.pictures import figures_folder, warn_if_it_fails
from figures.style import write_figure
from metrics import SCORES, direction, title
from models.base import is_logging_step

POINTS, LONGEST = 50, 50  # points of a curve at least, and steps between two at most


class Curves(Callback):
    """Chooses how often a run logs, logs its speed, and draws `figures/curves.png` and `.svg`.

    A run of 100 steps logs every second step, one of 2,500 or more steps every 50, unless
    `trainer.log_every_n_steps` says how often. The speed is in examples per second over all
    processes, for training alone. Curves come from metrics.csv, which has a resumed run's past.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if getattr(trainer, "chooses_log_interval", False):
            steps = trainer.estimated_stepping_batches
            known = steps != -1 and not math.isinf(steps)
            chosen = min(LONGEST, max(1, int(steps) // POINTS)) if known else LONGEST
            trainer.log_every_n_steps = chosen  # type: ignore[attr-defined]  # a connector's
        self._examples, self._seconds = 0, 0.0
        self._mark = time.perf_counter()  # A run resumed within an epoch has no epoch start.

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._mark = time.perf_counter()

    on_validation_end = on_train_epoch_start

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self._due = trainer.global_step + 1 if is_logging_step(trainer) else None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        before, self._mark = self._mark, time.perf_counter()
        self._seconds += self._mark - before
        self._examples += count_examples(batch) * trainer.world_size
        if trainer.global_step == self._due:  # Not while gradients accumulate.
            speed = self._examples / self._seconds
            pl_module.log("train/examples_per_s", speed, prog_bar=True, batch_size=1)
            self._examples, self._seconds = 0, 0.0

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if (folder := figures_folder(trainer)) is None:
            return
        for logger in trainer.loggers:
            logger.save()
        metrics = folder.parent / "metrics.csv"
        if metrics.is_file():
            with warn_if_it_fails("curves.png"):
                import pandas as pd

                table = pd.read_csv(metrics).groupby("step").last().dropna(axis=1, how="all")
                figure = draw_curves(table, panels_of([*table]))
                write_figure(folder / "curves.png", figure, vector=True)


def count_examples(batch: Any) -> int:
    """Returns the length of the first tensor in a batch; 0 if there is none."""
    if isinstance(batch, Tensor):
        return len(batch) if batch.dim() else 1
    parts = batch.values() if isinstance(batch, dict) else batch
    found = map(count_examples, parts) if isinstance(batch, dict | list | tuple) else ()
    return next(filter(None, found), 0)


def panels_of(names: list[str]) -> dict[str, list[str]]:
    """Returns the columns of each panel: losses, accuracies, errors, and a panel for each score."""
    scores = {"calibration_error", *(score.name for score in SCORES)}
    panels: dict[str, list[str]] = {}
    for name in names:
        stage, quantity = split_name(name)
        if stage not in STAGES or quantity.startswith(("accuracy/", "accuracy_")):  # by class
            continue
        if quantity in scores or f"floor/{quantity}" in names:
            better = direction(quantity)
            panel = title(quantity) + (f"\n({better} is better)" if better else "")
        elif found := re.search(r"loss|error|acc", quantity):
            panel = {"acc": "accuracy"}.get(found[0], found[0])
        else:
            continue
        panels.setdefault(panel, []).append(name)
    for columns in panels.values():
        columns.sort(key=lambda name: name.startswith("floor/"))  # last
    first = [panel for panel in ("loss", "accuracy", "error") if panel in panels]
    return {panel: panels[panel] for panel in [*first, *sorted(panels.keys() - first)]}

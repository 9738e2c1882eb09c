"""Predictions of `predict` beside the truth, in a table."""

from typing import TYPE_CHECKING, Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from callbacks.results import class_names, data_of, gather, say
from figures.pictures import figures_folder
from models.classifier import is_classifier
from models.regressor import is_regressor
from runtime.files import write
from runtime.ranges import NonNegative

if TYPE_CHECKING:
    from pandas import DataFrame


class Predictions(Callback):
    """Writes `predictions.csv` into the run's folder and prints its first rows.

    Rows are in the order of the data set, because `BatchLoader` splits batches in rank order.
    Columns are `index`, `truth`, `predicted` and, for a classifier, each class's probability.

    Args:
        rows: Number of rows to print.
    """

    def __init__(self, rows: NonNegative = 10) -> None:
        self.rows = rows

    def on_predict_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._batches: list[dict[str, Tensor]] = []

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any
    ) -> None:
        if is_classifier(pl_module) or is_regressor(pl_module):
            self._batches.append(outputs)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._batches:
            return
        shares = zip(*gather(self._batches), strict=True)
        self._batches = []
        batches = [batch for step in shares for batch in step]  # Step by step, rank by rank.
        classifies = is_classifier(pl_module)
        keys = ("targets", "probabilities" if classifies else "predictions")
        targets, found = (torch.cat([batch[key] for batch in batches]) for key in keys)
        names = class_names(data_of(trainer), found.shape[1]) if classifies else None
        table = tabulate(targets, found, names)
        # At most index, truth, predicted and ten classes.
        head = table.head(self.rows).to_string(
            index=False, max_cols=13, float_format="{:.4f}".format
        )
        count = f"The first {self.rows} of {len(table):,}" if len(table) > self.rows else "All"
        say(trainer, f"{count} predictions:\n{head}")
        if (figures := figures_folder(trainer)) is not None:
            path = figures.parent / "predictions.csv"
            write(path, lambda file: table.to_csv(file, index=False, float_format="%.6g"))
            say(trainer, f"Predictions: {path}")


def tabulate(targets: Tensor, found: Tensor, names: list[str] | None) -> "DataFrame":
    """Makes a table of classes (N,) and probabilities (N, C), or without names of values (N, 1)."""
    import pandas as pd

    index = range(len(targets))
    if names is None:
        values = {"truth": targets[:, 0].float(), "predicted": found[:, 0].float()}
        return pd.DataFrame({"index": index, **values})
    classes = {"truth": targets, "predicted": found.argmax(dim=1)}
    named = {column: [names[k] for k in values.tolist()] for column, values in classes.items()}
    shares = {f"p_{name}": p for name, p in zip(names, found.double().T, strict=True)}
    return pd.DataFrame({"index": index, **named, **shares})

"""Predictions of `predict` beside the truth, in a table."""

from typing import TYPE_CHECKING, Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.distributed import is_available, is_initialized
from torchmetrics.utilities.distributed import gather_all_tensors

from callbacks.console import say
from callbacks.drawing import class_names, data_of
from callbacks.figures import figures_folder
from models.classifier import Classifier
from models.regressor import FunctionMLP
from runtime.files import write

if TYPE_CHECKING:
    from pandas import DataFrame


class Predictions(Callback):
    """Writes `predictions.csv` into the run's folder and prints its first rows.

    Rows are in the order of the data set. Columns are `index`, `truth`, `predicted` and, for a
    classifier, the probability of each class. With several processes, each batch must be split
    among the ranks in rank order, as `BatchLoader` does.

    Args:
        rows: Number of rows to print.
    """

    def __init__(self, rows: int = 10) -> None:
        self.rows = rows
        self._batches: list[dict[str, Tensor]] = []

    def on_predict_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._batches = []

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any
    ) -> None:
        if isinstance(pl_module, Classifier | FunctionMLP):
            self._batches.append(outputs)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._batches:
            return
        classifies = isinstance(pl_module, Classifier)
        targets, found = (
            gather_in_order([batch[name] for batch in self._batches])
            for name in ("targets", "probabilities" if classifies else "predictions")
        )
        self._batches = []
        names = class_names(data_of(trainer), found.shape[1]) if classifies else None
        table = tabulate(targets, found, names)
        shape = {"index": False, "max_cols": 13}  # Index, truth, predicted and ten classes.
        head = table.head(self.rows).to_string(float_format="{:.4f}".format, **shape)
        count = f"The first {self.rows} of {len(table):,}" if len(table) > self.rows else "All"
        say(trainer, f"{count} predictions:\n{head}")
        figures = figures_folder(trainer)
        if figures is not None:
            path = figures.parent / "predictions.csv"
            write(path, lambda file: table.to_csv(file, index=False, float_format="%.6g"))
            say(trainer, f"Predictions: {path}")


def tabulate(targets: Tensor, found: Tensor, names: list[str] | None) -> "DataFrame":
    """Makes a table with a row per example: index, truth, predicted, and p_<class> per class.

    Args:
        targets: True classes (N,), or values (N, 1).
        found: Probabilities of the classes (N, C), or predicted values (N, 1).
        names: Names of the C classes; None for values.
    """
    import pandas as pd

    table = pd.DataFrame({"index": range(len(targets))})
    if names is None:
        return table.assign(
            truth=targets[:, 0].float().numpy(), predicted=found[:, 0].float().numpy()
        )
    table["truth"] = [names[target] for target in targets.tolist()]
    table["predicted"] = [names[prediction] for prediction in found.argmax(dim=1).tolist()]
    for name, probabilities in zip(names, found.double().unbind(dim=1), strict=True):
        table[f"p_{name}"] = probabilities.numpy()
    return table


def gather_in_order(batches: list[Tensor]) -> Tensor:
    """Joins all ranks' shares (b, ...) on the CPU: batch by batch, rank by rank."""
    mine = torch.cat(batches)
    if not (is_available() and is_initialized()):
        return mine.cpu()
    sizes = torch.tensor([len(batch) for batch in batches], device=mine.device)
    shares = [
        values.split(counts.tolist())
        for values, counts in zip(gather_all_tensors(mine), gather_all_tensors(sizes), strict=True)
    ]  # Rank, batch.
    return torch.cat([share for batch in zip(*shares, strict=True) for share in batch]).cpu()

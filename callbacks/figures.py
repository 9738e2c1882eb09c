"""Figures of a run: its networks and data before the first step, curves and fits at its end."""

import re
from pathlib import Path

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.model_summary import summarize
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from callbacks.data_figures import plot_data
from callbacks.function_fit import plot_function
from callbacks.network import plot_network, summary_table
from figures.curves import STAGE_TITLES, plot_curves, split_name
from figures.pictures import figures_folder, warn_if_it_fails
from figures.style import write_figure
from metrics import SCORES, direction, title


class Figures(Callback):
    """Plots figures into the run's folder, and prints the table of the networks.

    Before the first step of a new run: `network.png` and the data's figures (`plot_data`). At the
    end: `curves.png` and `.svg`, and what a model of one or two numbers computes (`plot_function`).
    Curves come from metrics.csv, which has a resumed run's past.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        folder = figures_folder(trainer)
        if folder is not None and not trainer.ckpt_path:
            plot_network(trainer, pl_module, folder)
            plot_data(trainer, folder)
        if getattr(trainer, "prints_summary", False):
            # Lightning's callback prints question marks for a model with several networks.
            rank_zero_info(summary_table(summarize(pl_module)))  # Every rank runs the model.

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        folder = figures_folder(trainer)
        if folder is not None:
            for logger in trainer.loggers:
                logger.save()
            _plot_log(folder)
        plot_function(trainer, pl_module, folder)  # On every rank: weights may be sharded.


SAME = 0.01  # largest difference of two curves that look like one
ALONE = {  # in a panel, with what the panel says
    "drift": "mean length of a drift",
    "elbo": "evidence lower bound, nats",
    "kl": "KL divergence, nats",
    "reconstruction": "error of reconstruction, nats",
}


def _plot_log(folder: Path) -> None:
    """Plots the curves in the run's metrics.csv, if it has one."""
    metrics = folder.parent / "metrics.csv"
    if metrics.is_file():
        with warn_if_it_fails("curves.png"):
            import pandas as pd

            table = pd.read_csv(metrics).groupby("step").last().dropna(axis=1, how="all")
            pair = table.reindex(columns=["val/accuracy", "val/balanced_accuracy"])
            if pair.diff(axis=1).iloc[:, 1].abs().max() < SAME:
                del table["val/balanced_accuracy"]
            figure = plot_curves(table, panels_of([*table]))
            write_figure(folder / "curves.png", figure, vector=True)


def panels_of(names: list[str]) -> dict[str, list[str]]:
    """Returns the columns of each panel: losses, accuracies, errors, and a panel for each score.

    Drift's loss rises by design, so its length of a drift stands for it.
    """
    scores = {score.name for score in SCORES}
    ignored = {"calibration_error", "loss" if "train/drift" in names else ""}
    panels: dict[str, list[str]] = {}
    for name in names:
        stage, quantity = split_name(name)
        if stage not in STAGE_TITLES or quantity.startswith(("accuracy/", "accuracy_")):  # by class
            continue
        if quantity in ignored:
            continue
        if quantity in scores or f"floor/{quantity}" in names:
            better = direction(quantity)
            panel = title(quantity) + (f"\n({better} is better)" if better else "")
        elif quantity in ALONE:
            panel = ALONE[quantity]
        elif match := re.search(r"loss|error|acc", quantity):
            panel = {"acc": "accuracy"}.get(match[0], match[0])
        else:
            continue
        panels.setdefault(panel, []).append(name)
    for columns in panels.values():
        columns.sort(key=lambda name: name.startswith("floor/"))  # last
    first = [panel for panel in ("loss", "accuracy", "error") if panel in panels]
    return {panel: panels[panel] for panel in [*first, *sorted(panels.keys() - first)]}

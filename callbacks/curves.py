"""Curves of the logged losses, accuracies and scores, drawn at the end of a run."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning import Callback, LightningModule, Trainer
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from figures.pictures import figures_folder, new_figure, styled
from figures.style import write_figure
from metrics import SCORES
from runtime.trainer import LadderTrainer

if TYPE_CHECKING:
    from pandas import DataFrame

NAMES = {
    "d_loss": "discriminator",
    "g_loss": "generator",
    "acc_real": "real images recognized",
    "acc_fake": "generated images recognized",
    "acc_class": "class of real images",
    "acc_generator": "generated images that pass",
    "d_accuracy": "real images recognized",
    "sup_error": "largest error",
}
TITLES = {"frechet": "Frechet distance", "calibration_error": "expected calibration error"}
STAGES = {"train": "training", "val": "validation", "floor": "real images"}
WIDTH, DECADES = 12.4, 100  # inches of several panels; a wider range of losses gets a log axis

POINTS, LONGEST = 50, 50  # points of a curve at least, and steps between two at most


class LogInterval(Callback):
    """Chooses how often a run logs, unless `trainer.log_every_n_steps` says it.

    A run of 100 steps logs every second step, one of 2,500 or more steps every 50.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if isinstance(trainer, LadderTrainer) and trainer.chooses_log_interval:
            steps = trainer.estimated_stepping_batches
            known = steps != -1 and not math.isinf(steps)
            chosen = min(LONGEST, max(1, int(steps) // POINTS)) if known else LONGEST
            trainer.log_every_n_steps = chosen  # type: ignore[attr-defined]  # a connector's


class Curves(Callback):
    """Draws `figures/curves.png` and `.svg` from metrics.csv, which has a resumed run's past."""

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if (folder := figures_folder(trainer)) is None:
            return
        for logger in trainer.loggers:
            logger.save()
        metrics = folder.parent / "metrics.csv"
        if metrics.is_file():
            write_figure(folder / "curves.png", draw_curves(metrics), vector=True)


@styled
def draw_curves(metrics: Path) -> Figure:
    """Draws panels of losses, of accuracies, and of each quality score beside its floor."""
    import pandas as pd

    table = pd.read_csv(metrics).groupby("step").last()
    table.index += 1  # Lightning counts steps from 0, but files and the console from 1.
    panels = panels_of([name for name in table if table[name].notna().any()])
    panels = {label: names for label, names in panels.items() if _differs(table, names)}
    if not panels:
        return Figure()
    columns = 2 if len(panels) == 4 else min(3, len(panels))
    rows = -(-len(panels) // columns)
    size = WIDTH if columns > 1 else 7.2, 5.0 if rows == 1 else 3.8 * rows
    figure, grid = new_figure(*size, rows, columns, squeeze=False)
    for axes, (label, names) in zip(grid.flat, panels.items(), strict=False):
        for name in names:
            _draw_curve(axes, table, name)
        if any("acc_" in name or "d_accuracy" in name for name in names):
            axes.axhline(0.5, color="black", linewidth=1, linestyle=":", label="undecided D")
        _scale(axes, table[names].stack().dropna(), label)
        axes.set(xlabel="step", ylabel=label, xlim=(0, 1.03 * table.index[-1]))
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.01), fontsize=11)  # where no curve is
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    return figure


def panels_of(names: list[str]) -> dict[str, list[str]]:
    """Returns the columns of each panel: losses, accuracies, errors, and a panel for each score."""
    panels: dict[str, list[str]] = {}
    scores = {score.name for score in SCORES}
    for name in names:
        stage, _, quantity = name.partition("/")
        if stage not in STAGES or quantity.startswith(("accuracy/", "accuracy_")):  # by class
            continue
        if quantity in scores or quantity in TITLES or f"floor/{quantity}" in names:
            panel = TITLES.get(quantity, quantity.replace("_", " "))
        elif quantity.endswith(("loss", "error")):
            panel = quantity.rpartition("_")[2]
        elif "acc" in quantity:
            panel = "accuracy"
        else:
            continue
        panels.setdefault(panel, []).append(name)
    first = [panel for panel in ("loss", "accuracy", "error") if panel in panels]
    return {panel: panels[panel] for panel in [*first, *sorted(panels.keys() - first)]}


def _differs(table: "DataFrame", names: list[str]) -> bool:
    """Returns False for a score that always equals its floor, such as ten modes of ten."""
    scored = any(name.startswith("floor/") for name in names)
    return not scored or table[names].stack().nunique() > 1


def _scale(axes: Any, values: Any, label: str) -> None:
    """Sets a log axis for losses over decades, and ticks at whole numbers for steps and counts."""
    if label in ("loss", "error") and values.min() > 0 and values.max() > DECADES * values.min():
        axes.set_yscale("log")
    elif (values == values.round()).all() and values.max() > 1:
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))


def _draw_curve(axes: Any, table: "DataFrame", name: str) -> None:
    stage, _, quantity = name.partition("/")
    values = table[name].dropna()
    label = NAMES.get(quantity, "")
    if stage == "floor":  # a line, however few its points are
        axes.axhline(
            values.iloc[-1], color="black", linestyle="--", linewidth=1, label="real images"
        )
        return
    text = f"{label}, {STAGES[stage]}" if label else STAGES[stage]
    # A validation's curve is jumpy, so it is thin and does not hide the training's.
    style = {"linewidth": 1.2, "zorder": 1.9} if stage == "val" else {}
    axes.plot(values.index, values, label=text, marker="o" if len(values) < 30 else "", **style)

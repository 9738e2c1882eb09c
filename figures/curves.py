"""Curves of the logged losses, accuracies and scores of a run."""

import re
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from figures.pictures import new_figure
from figures.style import colors, styled

if TYPE_CHECKING:
    from pandas import DataFrame, Series

STAGE_TITLES = {"train": "training", "val": "validation", "floor": "real images"}
QUANTITY_NAMES = {"d_accuracy": "acc_real"}  # the same share, in validation
# Inches of several panels; a wider range of losses gets a log axis
PANELS_WIDTH, DECADES = 12.4, 100
SMOOTHED, WINDOWS = 50, 20  # least points of a smoothed curve; its window is a 20th of them


def split_name(name: str) -> tuple[str, str]:
    """Splits `train/d_loss`, or `val_loss` of any module, into stage and quantity."""
    match = re.fullmatch(r"(train|val|test|floor)[/_](.+)", name)
    return (match[1], match[2]) if match else ("train", name)


@styled
def plot_curves(table: "DataFrame", panels: dict[str, list[str]]) -> Figure:
    """Plots panels of losses, of accuracies, and of each quality score beside its floor.

    Args:
        table: What a run logged, a row for each step.
        panels: The columns of each panel.
    """
    if not panels:
        return Figure()
    columns = 2 if len(panels) == 4 else min(3, len(panels))
    rows = -(-len(panels) // columns)
    size = PANELS_WIDTH if columns > 1 else 7.2, 5.0 if rows == 1 else 3.8 * rows
    figure, grid = new_figure(*size, rows, columns, squeeze=False)
    for axes, (label, names) in zip(grid.flat, panels.items(), strict=False):
        for index, name in enumerate(names):
            _plot_curve(axes, table[name].dropna(), name, colors()[index % len(colors())])
        if label == "accuracy" and any("d_loss" in name for name in table):
            axes.axhline(0.5, color="black", linewidth=1, linestyle=":", label="undecided D")
        _scale(axes, table[names].stack().dropna(), label)
        axes.set(xlabel="step", ylabel=label, xlim=(0, 1.03 * table.index[-1]))
        wide = len(axes.get_legend_handles_labels()[0]) > 3
        above: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1.01)}  # all curves
        axes.legend(**above, fontsize=11, ncols=2 if wide else 1)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    return figure


def _scale(axes: Any, values: "Series", label: str) -> None:
    """Sets a log axis for losses over decades, and ticks at whole numbers for steps and counts."""
    if label in ("loss", "error") and values.min() > 0 and values.max() > DECADES * values.min():
        axes.set_yscale("log")
    elif (values == values.round()).all() and values.max() > 1:
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.set_ylim(bottom=min(0, values.min()))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))


def _plot_curve(axes: Any, values: "Series", name: str, color: str) -> None:
    """Plots a curve under its printed name; one of many points pale, beside a smoothed line."""
    stage, quantity = split_name(name)
    if stage == "floor":  # a line, even with one point
        real = {"color": "black", "linestyle": "--", "linewidth": 1, "label": STAGE_TITLES[stage]}
        axes.axhline(values.iloc[-1], **real)
        return
    label = f"{QUANTITY_NAMES.get(quantity, quantity)}, {STAGE_TITLES[stage]}"
    style: dict[str, Any] = {"color": color, "marker": "o" if len(values) < 30 else ""}
    if len(values) >= SMOOTHED:
        axes.plot(values.index, values, **style, linewidth=1, alpha=0.3, zorder=1.5)
        window = len(values) // WINDOWS // 2 * 2 + 1  # odd, so that its mean is not beside it
        values = values.rolling(window, center=True, min_periods=1).mean()
    axes.plot(values.index, values, **style, label=label)

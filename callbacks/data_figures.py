"""Figures of the training data, drawn before the first step."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from lightning import Trainer
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from torch import Tensor

from callbacks.recording import datamodule_of
from datamodules.data_module import DataModule, Split
from datamodules.input_spec import class_names
from figures.pictures import mosaic, publish
from figures.style import styled

if TYPE_CHECKING:
    from pandas import DataFrame

EXAMPLES = 20  # images at most
FIRST = 200  # images of a loader to choose from


def plot_data(trainer: Trainer, folder: Path) -> None:
    """Plots `data_examples.png` of images, `data_head.png` and `data_pairs.png` of a `table()`.

    Images are one of each class, at most `EXAMPLES`, or the first ten without classes.
    """
    if (data := datamodule_of(trainer)) is None:
        return
    if len(data.image_shape or ()) == 3 and (train := _training_examples(data)) is not None:
        rows = first_of_each_class(train.targets) if data.num_classes else range(10)
        chosen = torch.tensor([*rows][:EXAMPLES])
        images, targets = train.take(chosen[chosen < len(train.targets)])
        names = class_names(data, data.num_classes or 0)
        titles = [names[target] for target in targets.tolist()] if names else []
        plot = partial(mosaic, images[:], titles, min(10, len(images)), cell=1.6)
        publish(trainer, folder, "data_examples", plot)
    if (table := data.table()) is not None:
        publish(trainer, folder, "data_head", partial(plot_head, table))
        publish(trainer, folder, "data_pairs", partial(plot_pairs, table, data.unit))


def _training_examples(data: DataModule) -> Split | None:
    """Returns all of the training split, or what a loader gives first."""
    return data.splits.train if data.splits else data.examples("train", FIRST)


def first_of_each_class(targets: Tensor) -> list[int]:
    """Returns the index of the first example of each class in targets (N,)."""
    return [int((targets == k).nonzero()[0]) for k in targets.unique().tolist()]


@styled
def plot_head(table: "DataFrame", rows: int = 5) -> Figure:
    """Plots the first rows of a table."""
    head = table.head(rows).reset_index(names="").astype(str)
    figure = Figure((1.75 * len(head.columns), 0.42 * (len(head) + 1)))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    box = Bbox.from_bounds(0.01, 0.02, 0.98, 0.96)
    drawn = axes.table(head.values.tolist(), colLabels=list(head), bbox=box, edges="horizontal")
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(14)
    return figure


@styled
def plot_pairs(table: "DataFrame", unit: str = "") -> Figure:
    """Plots every pair of columns against each other, colored by the last column, the class."""
    import matplotlib.pyplot as plt
    import seaborn as sns

    *columns, hue = table
    ending = f" ({unit})" if unit else ""
    named = table.rename(columns={name: f"{name.replace('_', ' ')}{ending}" for name in columns})
    classes = table[hue].nunique()
    markers = ["o", "s", "D"][:classes] if classes <= 3 else None
    grid = sns.pairplot(named, hue=hue, palette="colorblind", markers=markers)
    grid.legend.set_title(hue)
    plt.close(grid.figure)  # Removes it from pyplot's global state.
    return grid.figure

"""Figures of the training data, drawn before the first step."""

from typing import TYPE_CHECKING

from lightning import Callback, LightningModule, Trainer
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from callbacks.figures import figures_folder, mosaic, publish
from callbacks.results import class_names, data_of

if TYPE_CHECKING:
    from pandas import DataFrame


class DataFigures(Callback):
    """Draws `data_examples.png` of images, `data_head.png` and `data_pairs.png` of a `table()`.

    Args:
        examples: Number of images to show.
    """

    def __init__(self, examples: int = 6) -> None:
        self.examples = examples

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data, folder = data_of(trainer), figures_folder(trainer)
        if folder is None or trainer.ckpt_path or data is None:
            return
        if data.image_shape is not None and data.splits is not None:
            images, targets = (part[: self.examples] for part in data.splits.train)
            names = class_names(data, data.num_classes or 0)
            titles = [names[target] for target in targets.tolist()] if names else []
            figure = mosaic(images, titles, len(images), cell=1.6)
            publish(trainer, folder, "data_examples", figure)
        if (table := data.table()) is not None:
            publish(trainer, folder, "data_head", draw_head(table))
            publish(trainer, folder, "data_pairs", draw_pairs(table))


def draw_head(table: "DataFrame", rows: int = 5) -> Figure:
    """Draws the first rows of a table."""
    head = table.head(rows).reset_index(names="").astype(str)
    figure = Figure((1.2 * len(head.columns), 0.3 * (len(head) + 1)), dpi=130)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    box = Bbox.from_bounds(0.01, 0.02, 0.98, 0.96)
    axes.table(head.values.tolist(), colLabels=list(head), bbox=box, edges="horizontal")
    return figure


def draw_pairs(table: "DataFrame") -> Figure:
    """Draws every pair of columns against each other, coloured by the last column, the class."""
    import matplotlib.pyplot as plt
    import seaborn as sns

    figure = sns.pairplot(table, hue=table.columns[-1]).figure
    plt.close(figure)  # Removes it from pyplot's global state.
    return figure

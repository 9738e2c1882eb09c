"""What a run is trained on: a few examples, drawn before the first step."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from callbacks.drawing import class_names, data_of, mosaic, publish
from callbacks.figures import figures_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


class DataFigures(Callback):
    """`data_examples.png` for images; `data_head.png` and `data_pairs.png` for a table.

    A new run draws them once. A data module that has a table gives it by its method `table`,
    whose last column names the classes.

    Args:
        examples: How many images to show.
    """

    def __init__(self, examples: int = 6) -> None:
        self.examples = examples

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = data_of(trainer)
        folder = figures_folder(trainer)
        if folder is None or trainer.ckpt_path or data is None:
            return
        splits = getattr(data, "splits", None)
        if splits is not None and splits.train.inputs.dim() == 4:
            images, targets = (part[: self.examples].cpu() for part in splits.train)
            names = class_names(data, getattr(data, "num_classes", 0))
            figure = draw_examples(images, targets, names)
            publish(trainer, folder, "data_examples", figure)
        if (table := data.table() if hasattr(data, "table") else None) is not None:
            publish(trainer, folder, "data_head", draw_head(table))
            publish(trainer, folder, "data_pairs", draw_pairs(table))


def draw_examples(images: Tensor, targets: Tensor, names: Sequence[str]) -> "Figure":
    """Images (N, C, H, W) in a row, each under the name of its class (N,)."""
    return mosaic(images, [names[target] for target in targets.tolist()], len(images), cell=1.6)


def draw_head(table: "DataFrame", rows: int = 5) -> "Figure":
    """The first rows of a table as a figure."""
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

    head = table.head(rows)
    text = [[str(value) for value in row] for row in head.itertuples()]  # index first
    widths = [
        max(len(line[c]) for line in [["", *table.columns], *text]) for c in range(len(text[0]))
    ]
    total = sum(width + 3 for width in widths)
    figure = Figure(figsize=(0.095 * total, 0.3 * (len(text) + 1)), dpi=130)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    drawn = axes.table(
        text,
        colLabels=["", *table.columns],
        colWidths=[(width + 3) / total for width in widths],
        bbox=Bbox.from_bounds(0.01, 0.02, 0.98, 0.96),
        edges="horizontal",
    )
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(10)
    for (row, _), cell in drawn.get_celld().items():
        if row == 0:
            cell.get_text().set_fontweight("bold")
    return figure


def draw_pairs(table: "DataFrame") -> "Figure":
    """Every two columns against each other, coloured by the last column, the classes.

    As seaborn's `pairplot`, which however leaves its figure in pyplot's global state.
    """
    import seaborn as sns
    from matplotlib.figure import Figure

    *columns, hue = table.columns
    size = len(columns)
    figure = Figure(figsize=(2.3 * size + 1.2, 2.3 * size), layout="constrained", dpi=90)
    legends: list[Any] = []
    grid = figure.subplots(size, size, sharex="col", sharey="row", squeeze=False)
    for i, y in enumerate(columns):
        for j, x in enumerate(columns):
            axes = grid[i, j]
            if i == j:  # densities have a scale of their own
                over = axes.twinx()
                sns.kdeplot(table, x=x, hue=hue, fill=True, ax=over, legend=i == 0)
                legends.append(over.get_legend())
                over.axis("off")
            else:
                sns.scatterplot(table, x=x, y=y, hue=hue, s=22, ax=axes, legend=False)
            axes.set(xlabel=x if i == size - 1 else "", ylabel=y if j == 0 else "")
            sns.despine(ax=axes)
    legend = legends[0]
    handles, labels = legend.legend_handles, [text.get_text() for text in legend.get_texts()]
    legend.remove()
    figure.legend(handles, labels, title=hue, loc="outside right center", frameon=False)
    return figure

"""What the figures share: publishing one, names of classes, many small images in one picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from lightning import Trainer
from torch import Tensor

from callbacks.figures import tensorboard, write

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def publish(trainer: Trainer, folder: Path, name: str, figure: "Figure") -> None:
    """Writes `<folder>/<name>.png`, and shows the figure in TensorBoard if the run has one."""
    write(folder / f"{name}.png", figure.savefig)
    if writer := tensorboard(trainer):
        writer.add_figure(name, figure, trainer.global_step, close=False)


def class_names(trainer: Trainer, num_classes: int) -> list[str]:
    """The classes as the data module names them, or their numbers."""
    data = getattr(trainer, "datamodule", None)
    names = getattr(data, "class_names", None) or range(num_classes)
    return [str(name) for name in names]


def mosaic(
    images: Tensor,
    titles: Sequence[str] = (),
    columns: int | None = None,
    heading: str = "",
    signed: bool = False,
    cell: float = 0.95,
) -> "Figure":
    """Images row by row in one figure, each under its title.

    Args:
        images: (N, H, W), or (N, C, H, W) with one or three channels.
        titles: One for each image; none: no titles.
        columns: Images in a row; by default as many as make the picture about square.
        heading: Over the whole figure.
        signed: Show values around 0 in two colours, with a colour bar, instead of greys from the
            least to the greatest value of all images.
        cell: Width of one image in inches.
    """
    from matplotlib.figure import Figure

    images = images.detach().float().cpu()
    images = images.movedim(1, -1).squeeze(-1) if images.dim() == 4 else images  # (N, H, W[, 3])
    columns = columns or max(1, round(len(images) ** 0.5 * 1.2))
    rows = -(-len(images) // columns)
    lines = max((title.count("\n") + 1 for title in titles), default=0)
    width = max(columns * cell, 0.09 * len(heading), 2) + 0.9 * signed
    height = rows * (cell * images.shape[1] / images.shape[2] + 0.05 + 0.17 * lines)
    figure = Figure(figsize=(width, height + 0.45 * bool(heading)), layout="constrained", dpi=130)
    limit = float(images.abs().max()) if signed else float(images.max())
    low = -limit if signed else min(0.0, float(images.min()))
    grid = figure.subplots(rows, columns, squeeze=False)
    for place, axes in enumerate(grid.flat):
        axes.axis("off")
        if place >= len(images):
            continue
        shown = axes.imshow(
            images[place], cmap="RdBu_r" if signed else "gray", vmin=low, vmax=limit or 1.0
        )
        if titles:
            axes.set_title(titles[place], fontsize=8, pad=2)
    if signed:
        figure.colorbar(shown, ax=grid, shrink=min(1.0, 3 / rows), label="weight")
    figure.suptitle(heading, fontsize=10)
    return figure


def percent(part: float | Tensor, whole: float | Tensor) -> str:
    """A share with its counts: `96.67 % (29 of 30)`; a dash where there is nothing to count."""
    part, whole = (int(torch.as_tensor(value)) for value in (part, whole))
    return f"{100 * part / whole:.2f} % ({part:,} of {whole:,})" if whole else "-"

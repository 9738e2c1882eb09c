"""What the figures share: publishing one, names of classes, many small images in one picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from lightning import LightningDataModule, Trainer
from torch import Tensor

from callbacks.figures import tensorboard
from runtime.files import write

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def publish(trainer: Trainer, folder: Path, name: str, figure: "Figure") -> None:
    """Writes `<folder>/<name>.png`, and shows the figure in TensorBoard if the run has one."""
    write(folder / f"{name}.png", figure.savefig)
    if writer := tensorboard(trainer):
        writer.add_figure(name, figure, trainer.global_step, close=False)


def data_of(trainer: Trainer) -> LightningDataModule | None:
    """The data module of the run, if it was given one."""
    return getattr(trainer, "datamodule", None)


def class_names(data: LightningDataModule | None, num_classes: int) -> list[str]:
    """The classes as the data module names them, or their numbers."""
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
    columns = columns or max(1, round(1.2 * len(images) ** 0.5))
    limit = float(images.abs().max()) or 1.0
    low, cmap = (-limit, "RdBu_r") if signed else (0.0, "gray")

    # all in inches, from the upper left
    tall = cell * images.shape[1] / images.shape[2]
    strip = 0.04 + 0.14 * max((title.count("\n") + 1 for title in titles), default=0)
    top, gap = 0.35 * bool(heading), 0.06
    height = top + -(-len(images) // columns) * (strip + tall + gap) + gap
    left, bar = gap, 0.9 * signed
    width = columns * (cell + gap) + gap + bar
    if (wanted := 0.085 * len(heading)) > width:  # the heading is wider than the images
        left, width = left + (wanted - width) / 2, wanted
    figure = Figure(figsize=(width, height), dpi=150)
    axes = figure.add_axes((0, 0, 1, 1))
    for place, image in enumerate(images):
        x = left + place % columns * (cell + gap)
        y = top + place // columns * (strip + tall + gap) + strip
        shown = axes.imshow(
            image.numpy(),
            extent=(x, x + cell, y + tall, y),
            aspect="auto",
            cmap=cmap,
            vmin=low,
            vmax=limit,
        )
        if titles:
            axes.text(x + cell / 2, y - 0.03, titles[place], fontsize=8, ha="center", va="bottom")
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    figure.text(0.5, 1 - 0.09 / height, heading, fontsize=10, ha="center", va="top")
    if signed:
        high = min(height - top - 0.4, 2.5)
        place_of_bar = (
            1 - 0.8 / width,
            1 - (top + strip + high) / height,
            0.12 / width,
            high / height,
        )
        figure.colorbar(shown, cax=figure.add_axes(place_of_bar)).ax.tick_params(labelsize=8)
    return figure


def percent(part: float | Tensor, whole: float | Tensor) -> str:
    """A share with its counts: `96.67 % (29 of 30)`; a dash where there is nothing to count."""
    part, whole = (int(torch.as_tensor(value)) for value in (part, whole))
    return f"{100 * part / whole:.2f} % ({part:,} of {whole:,})" if whole else "-"

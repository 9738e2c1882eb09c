"""Parts that figures share: publishing, names of classes, grids of images."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from lightning import Trainer
from torch import Tensor
from torch.nn.functional import pad

from callbacks.figures import tensorboard
from datamodules.base import InMemoryDataModule
from runtime.files import write

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure


def publish(trainer: Trainer, folder: Path, name: str, figure: "Figure") -> None:
    """Writes `<folder>/<name>.png` and adds the figure to the run's TensorBoard, if it has one."""
    write(folder / f"{name}.png", figure.savefig)
    if writer := tensorboard(trainer):
        writer.add_figure(name, figure, trainer.global_step, close=False)


def data_of(trainer: Trainer) -> InMemoryDataModule | None:
    """Returns the run's DataModule if it follows this project's contract, otherwise None."""
    data = trainer.datamodule  # type: ignore[attr-defined]  # set by a connector
    return data if isinstance(data, InMemoryDataModule) else None


def class_names(data: InMemoryDataModule | None, num_classes: int) -> list[str]:
    """Returns the DataModule's names of the classes, or else their numbers."""
    names = data.class_names if data is not None else None
    return [str(name) for name in names or range(num_classes)]


def picture(image: Tensor, largest: float) -> "np.ndarray":
    """Converts an image (C, H, W) to an array for matplotlib's `imshow`.

    Args:
        image: One or three channels.
        largest: The value that is shown at full brightness in a colour image.

    Returns:
        (H, W) with the same values for one channel; (H, W, 3) in [0, 1] for three.
    """
    image = image.detach().float().cpu()
    if len(image) == 1:
        return image[0].numpy()
    return (image / largest).clamp(0, 1).movedim(0, -1).numpy()


def mosaic(
    images: Tensor,
    titles: Sequence[str] = (),
    columns: int | None = None,
    heading: str = "",
    signed: bool = False,
    cell: float = 0.95,
) -> "Figure":
    """Draws images row by row in one figure, each below its title.

    Args:
        images: (N, H, W), or (N, C, H, W) with one or three channels.
        titles: One title per image, or none.
        columns: Images per row. By default the figure is about square.
        heading: Heading of the figure.
        signed: Show values around 0 in two colours with a colour bar. Otherwise images of one
            channel are grey, from 0 to the largest value of all images.
        cell: Width of one image in inches.
    """
    from matplotlib.figure import Figure
    from torchvision.utils import make_grid

    images = (images if images.dim() == 4 else images[:, None]).detach().float().cpu()
    columns = min(columns or round(1.2 * len(images) ** 0.5), len(images))
    limit = float(images.abs().max()) or 1.0
    white = limit if images.shape[1] == 3 else float("nan")
    inch = images.shape[3] / cell  # In pixels of the images.
    lines = max((title.count("\n") + 1 for title in titles), default=0)
    strip, gap = round(0.17 * lines * inch), max(1, round(0.03 * inch))
    tiles = pad(images, (gap, gap, gap + strip, gap), value=white)
    grid = make_grid(tiles, columns, padding=0, pad_value=white)[: images.shape[1]]

    height, width = grid.shape[1] / inch + 0.35 * bool(heading), grid.shape[2] / inch + signed
    figure = Figure((max(width, 0.09 * len(heading)), height), dpi=150, layout="constrained")
    figure.suptitle(heading, fontsize=10)
    axes = figure.subplots()
    axes.axis("off")
    low, cmap = (-limit, "RdBu_r") if signed else (0.0, "gray")
    shown = axes.imshow(picture(grid, limit), cmap, vmin=low, vmax=limit, interpolation="nearest")
    for place, title in enumerate(titles):
        x = (place % columns + 0.5) * tiles.shape[3]
        y = place // columns * tiles.shape[2] + strip - 0.02 * inch
        axes.text(x, y, title, fontsize=8, ha="center", va="bottom")
    if signed:
        figure.colorbar(shown, ax=axes, shrink=0.8).ax.tick_params(labelsize=8)
    return figure


def percent(part: float | Tensor, whole: float | Tensor) -> str:
    """Formats a share with its counts, such as `96.67 % (29 of 30)`; "-" if there are none."""
    part, whole = (int(torch.as_tensor(value)) for value in (part, whole))
    return f"{100 * part / whole:.2f} % ({part:,} of {whole:,})" if whole else "-"

"""Pictures of a run: folders, writing, logging, and shared plotting functions."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Trainer
from lightning.pytorch.loggers import MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from matplotlib.figure import Figure  # Costs nothing, because torchmetrics imports it anyway.
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.tensorboard import SummaryWriter
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import make_grid

from figures.style import styled, write_figure
from runtime.errors import UserError
from runtime.files import create, partial_name, write

LABEL_PX = 18  # height of the letters on pictures of samples
MAX_PIXELS, MAX_FILM = 2**26, 2**30  # of a picture that others may have made, and of all of a film
FRAME = 0.85  # of tiles: lighter than gray noise, darker than paper


def run_folder(trainer: Trainer) -> Path | None:
    """Returns the run's folder; None without one and on ranks other than zero.

    Call it on every rank, because Lightning broadcasts the name of the run's folder.
    """
    folder = trainer.log_dir
    trial = trainer.fast_dev_run  # type: ignore[attr-defined]  # set by a connector
    if folder is None or not trainer.loggers or trial or not trainer.is_global_zero:
        return None
    return Path(folder)


def figures_folder(trainer: Trainer) -> Path | None:
    """Returns the run's `figures/`; None where `run_folder` is None or `trainer.pictures` is False.

    Call it on every rank.
    """
    folder = run_folder(trainer)
    if folder is None or not getattr(trainer, "pictures", True):
        return None
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    return folder / "figures"


def output_folder(path: Path, given: bool = True) -> Path:
    """Creates the folder that `--out` names and checks that it is writable, before any work.

    A default folder, which is not `given`, must not be a link: somebody else may have made it.
    """
    if not given and path.is_symlink():
        raise UserError(f"{path} is a link: name the folder to write to with --out")
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = partial_name(path / "probe")
        create(probe)
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"--out {path}: cannot be written to ({error.strerror}). Give another folder."
        ) from error
    return path


@contextmanager
def warn_if_it_fails(name: str) -> Iterator[None]:
    """Turns an error inside the block into a warning, because a picture must not end a training."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split()) or "no reason given"
        rank_zero_warn(f"{name} was not drawn: {type(error).__name__}: {reason}")


def publish(
    trainer: Trainer,
    folder: Path,
    name: str,
    plot: Callable[[], Figure],
    vector: bool = False,
) -> None:
    """Writes `<folder>/<name>.png` as `write_figure` does; sends it to the run's loggers.

    A picture that cannot be drawn is a warning.
    """
    with warn_if_it_fails(f"{name}.png"):
        write_figure(folder / f"{name}.png", plot(), vector)
        log_picture(trainer, name, folder / f"{name}.png")


def tensorboard(trainer: Trainer) -> SummaryWriter | None:
    """Returns TensorBoard's writer, or None on ranks other than zero and in runs without it."""
    loggers = (log for log in trainer.loggers if isinstance(log, TensorBoardLogger))
    return next((log.experiment for log in loggers), None) if trainer.is_global_zero else None


def logging_step(trainer: Trainer) -> int:
    """Returns the step of what is logged now: in `test`, the step of the checkpoint."""
    steps = (getattr(log, "step", None) for log in trainer.loggers)
    return next((step for step in steps if step is not None), trainer.global_step)


def log_picture(trainer: Trainer, name: str, path: Path) -> None:
    """Sends a picture to TensorBoard, W&B and MLflow, as far as the run has them.

    Call it on rank zero.
    """
    image = read_png(path).convert("RGB")
    step = logging_step(trainer)
    if (writer := tensorboard(trainer)) is not None:
        writer.add_image(f"figures/{name}", np.asarray(image), step, dataformats="HWC")
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(name, [image], step)
        elif isinstance(logger, MLFlowLogger):
            logger.experiment.log_image(logger.run_id, image, key=name, step=step)


@styled
def new_figure(
    width: float, height: float, rows: int = 1, columns: int = 1, **grid: Any
) -> tuple[Figure, Any]:
    """Returns a figure of this size in inches and its axes, as `Figure.subplots` arranges them."""
    figure = Figure((width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, **grid)


def picture(image: Tensor, largest: float) -> np.ndarray:
    """Converts (1, H, W) to an array (H, W), and (3, H, W) to (H, W, 3), divided by `largest`."""
    image = image.detach().float().cpu()
    color = (image / largest).clamp(0, 1).movedim(0, -1)
    return (image[0] if len(image) == 1 else color).numpy()


def text_width(texts: Sequence[str], letters: float) -> float:
    """Estimates the width in inches of the longest line of texts, in letters of this size."""
    lengths = [len(line) for text in texts for line in text.split("\n")]
    return 0.0088 * letters * max(lengths, default=0)


@styled
def mosaic(
    images: Tensor,
    titles: Sequence[str] = (),
    columns: int | None = None,
    heading: str = "",
    signed: bool = False,
    cell: float = 1.4,
    letters: float = 13,
) -> Figure:
    """Plots images row by row in one figure, each below its title.

    The distance between images fits their titles.

    Args:
        images: (N, H, W), or (N, C, H, W) with one or three channels.
        titles: A title for each image; empty: none.
        columns: Images per row. By default the figure is about square.
        heading: Text above all images.
        signed: Show values around 0 in two colors with a color bar. Otherwise images of one
            channel are gray, from 0 to the largest value of all images.
        cell: Width of one image in inches.
        letters: Size of the titles in points.
    """
    images = (images if images.dim() == 4 else images[:, None]).detach().float().cpu()
    columns = min(columns or round(1.2 * len(images) ** 0.5), len(images))
    limit = float(images.abs().max()) or 1.0
    white = limit if images.shape[1] == 3 else float("nan")
    inch = images.shape[3] / cell  # In pixels of the images.
    lines = max((title.count("\n") + 1 for title in titles), default=0)
    strip, gap = round(0.25 * lines * letters / 13 * inch), max(1, round(0.03 * inch))
    side = max(gap, round((text_width(titles, letters) + 0.1 - cell) / 2 * inch))
    tiles = pad(images, (side, side, gap + strip, gap), value=white)
    grid = make_grid(tiles, columns, padding=0, pad_value=white)[: images.shape[1]]

    height, width = grid.shape[1] / inch + 0.45 * bool(heading), grid.shape[2] / inch + signed
    figure, axes = new_figure(max(width, text_width([heading], 14)), height)
    figure.suptitle(heading, fontsize=14)
    axes.axis("off")
    low, cmap = (-limit, "RdBu_r") if signed else (0.0, "gray")
    shown = axes.imshow(picture(grid, limit), cmap, vmin=low, vmax=limit, interpolation="nearest")
    for index, title in enumerate(titles):
        x = (index % columns + 0.5) * tiles.shape[3]
        y = index // columns * tiles.shape[2] + strip - 0.02 * inch
        axes.text(x, y, title, fontsize=letters, ha="center", va="bottom", parse_math=False)
    if signed:
        figure.colorbar(shown, ax=axes, shrink=0.8)
    return figure


def tile(images: Tensor, columns: int, padding: int = 2, scale: int | None = None) -> Tensor:
    """Joins images (N, C, H, W) row by row on light gray, by default each 56 pixels high."""
    scale = scale or max(1, round(56 / images.shape[2]))
    grid = make_grid(images, columns, padding, pad_value=FRAME)[: images.shape[1]]
    return grid.repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2)


def write_png(path: Path, picture: Tensor, rows: Sequence[str] = ()) -> None:
    """Writes a picture (C, H, W) in [0, 1] as a PNG, in gray or in color.

    Args:
        path: The file.
        picture: The picture.
        rows: Names of its rows, each as high as the others, which are written to the left.
    """
    image = as_image(picture)
    write(path, (name_rows(image, rows) if rows else image).save)


def as_image(picture: Tensor) -> Image.Image:
    """Converts a picture (C, H, W) in [0, 1] to an image, in gray or in color."""
    pixels = (picture.float().clamp(0, 1) * 255).round().to(torch.uint8)
    image: Image.Image = to_pil_image(pixels.cpu())
    return image


def read_png(path: Path, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Reads a picture of a run's folder. Somebody else may have made it, so it must be a PNG."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            if image.width * image.height > max_pixels:
                raise ValueError(f"{image.width:,} x {image.height:,} pixels")
            return image.copy()
    except Exception as error:  # PIL raises any kind for a broken file
        raise UserError(f"{path}: cannot be opened as a PNG ({error})") from None


def write_film(path: Path, frames: Sequence[Image.Image | Path], milliseconds: int = 300) -> None:
    """Writes pictures of the same size, or their files, as a GIF that rests on the last one."""
    limit = min(MAX_PIXELS, MAX_FILM // len(frames))  # Pillow keeps one byte of each pixel
    opened = (read_png(frame, limit) if isinstance(frame, Path) else frame for frame in frames)
    images = (image.convert("RGB") for image in opened)  # one at a time
    times = [milliseconds] * (len(frames) - 1) + [5 * milliseconds]
    first = next(images)
    write(
        path,
        partial(
            first.save, format="GIF", save_all=True, append_images=images, duration=times, loop=0
        ),
    )


def name_rows(image: Image.Image, rows: Sequence[str]) -> Image.Image:
    """Writes a name to the left of each row of a picture, in black on white."""
    font = ImageFont.load_default(LABEL_PX)
    margin = round(max(font.getlength(name) for name in rows)) + LABEL_PX
    page = Image.new(image.mode, (margin + image.width, image.height), "white")
    page.paste(image, (margin, 0))
    draw, row = ImageDraw.Draw(page), image.height / len(rows)
    for index, name in enumerate(rows):
        draw.text((margin / 2, (index + 0.5) * row), name, "black", font, anchor="mm")
    return page

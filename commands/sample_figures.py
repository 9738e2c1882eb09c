"""Figures of `sample`: grid, paths through the latent space, nearest images, animation."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning import LightningDataModule
from PIL import Image
from torch import Tensor
from torch.nn.functional import one_hot
from torchvision.transforms.functional import to_pil_image

from callbacks.results import class_names
from datamodules.base import InMemoryDataModule
from figures.pictures import below_title, beside, mosaic, tile, write_png
from models.gan import GAN
from models.generative import Draws, sample, to_pixels
from runtime.errors import UserError
from runtime.files import write

if TYPE_CHECKING:
    from sklearn.neighbors import NearestNeighbors

Classes = list[int] | None
COLUMNS = 10
PATHS = 5  # Rows of paths without classes.
SLIDE_PX, CELL_PX = (1200, 640), 168  # Width and height of a grid; of an image of a small one.
NEIGHBORS = 5  # Training images per sample.
FRAME_MS, LAST_FRAME_MS = 300, 2000


def draw_grid(
    folder: Path, drawn: dict[str, Tensor], classes: Classes, names: Sequence[str]
) -> Path:
    """Draws `grid.png`: up to ten images uint8 (N, C, H, W) per class, a named row each.

    Images without classes make a square, at most 10 x 10.
    """
    images, columns = drawn["images"], COLUMNS
    if classes is None:
        columns = min(COLUMNS, math.ceil(len(images) ** 0.5))
        images = images[: columns**2]
    else:
        blank = images.new_zeros(COLUMNS, *images.shape[1:])
        rows = [images[drawn["labels"] == k][:COLUMNS] for k in classes]
        columns = max(len(row) for row in rows)
        images = torch.cat([torch.cat([row, blank])[:columns] for row in rows])
    path = folder / "grid.png"
    names_of_rows = [names[k] for k in classes or []]
    write_png(path, _slide(images.float() / 255, columns), names_of_rows)
    return path


def _slide(images: Tensor, columns: int) -> Tensor:
    """Joins images (N, C, H, W) row by row, as large as a slide permits."""
    rows, (height, width) = -(-len(images) // columns), images.shape[2:]
    sizes = columns * (width + 2), rows * (height + 2)
    fits = min(SLIDE_PX[0] // sizes[0], SLIDE_PX[1] // sizes[1], CELL_PX // height)
    return tile(images, columns, scale=max(1, fits))


def draw_paths(
    folder: Path, model: GAN, seed: int, way: str | None, between: Classes, classes: Classes
) -> list[Path]:
    """Draws `interpolation.png`, from latent to latent, and `between_A_B.png`, class to class."""
    rows = len(classes) if classes else PATHS
    names = class_names(model.frame, model.num_classes or 0)
    draws = Draws(model, max(2 * rows, COLUMNS), seed)
    latents = torch.cat([draw.latents for draw in draws])
    shares = torch.linspace(0, 1, COLUMNS)
    written = []

    def draw(name: str, path: Tensor, labels: Tensor | None, title: str, rows: list[str]) -> None:
        picture = to_pil_image(to_pixels(_slide(sample(model, path, labels), COLUMNS)).cpu())
        page = below_title(beside(picture, rows) if rows else picture, title)
        write(folder / f"{name}.png", page.save)
        written.append(folder / f"{name}.png")

    if way:
        mix = spherical if way == "spherical" else torch.lerp
        start, end = latents[:rows], latents[rows : 2 * rows]
        path = torch.stack([mix(start, end, share) for share in shares], dim=1)
        labels = torch.tensor(classes).repeat_interleave(COLUMNS) if classes else None
        line = "on a great circle" if way == "spherical" else "on a straight line"
        title = f"From one noise vector (left) to another (right), {line}"
        draw("interpolation", path.flatten(0, 1), labels, title, [names[k] for k in classes or []])
    if between:
        first, last = one_hot(torch.tensor(between), model.num_classes or -1).float()
        mixtures = torch.stack([torch.lerp(first, last, share) for share in shares])
        path = latents[:PATHS].repeat_interleave(COLUMNS, dim=0)
        left, right = (names[k] for k in between)
        title = f"From {left} (left) to {right} (right); each row keeps its noise"
        name = f"between_{between[0]}_{between[1]}"
        draw(name, path, mixtures.repeat(PATHS, 1), title, [])
    return written


def spherical(start: Tensor, end: Tensor, share: Tensor) -> Tensor:
    """Interpolates between latents (B, D) along a great circle, which keeps their length typical.

    White 2016, "Sampling generative networks", section 2.1. A straight line between two Gaussian
    latents passes near 0, where the density of latents is low.
    """
    cosine = torch.cosine_similarity(start, end, dim=1).clamp(-1 + 1e-6, 1 - 1e-6)
    angle = cosine.arccos()[:, None]
    return (((1 - share) * angle).sin() * start + (share * angle).sin() * end) / angle.sin()


def draw_neighbors(folder: Path, images: Tensor, data: LightningDataModule | None) -> Path:
    """Draws `neighbors.png`: each sample (uint8), then its nearest training images in pixels.

    More than five samples make two columns, so that the picture fits a slide.
    """
    if not isinstance(data, InMemoryDataModule):
        raise UserError("--neighbors needs training images: give --data as well")
    data.prepare_data()
    data.setup("fit")
    assert data.splits is not None
    train = data.splits.train.inputs
    if train.shape[1:] != images.shape[1:]:
        raise UserError(
            f"--neighbors: training examples of shape {tuple(train.shape[1:])} cannot be compared "
            f"with samples of shape {tuple(images.shape[1:])}: give the --data of the training run"
        )
    nearest, distances = nearest_images(images, train, NEIGHBORS)
    rows = [*torch.cat([images[:, None], nearest], dim=1)]
    titles = [["sample", *(f"{x:.1f}" for x in row)] for row in distances.tolist()]
    blank = torch.full_like(images[:1], 255)
    columns = 1 + NEIGHBORS
    if len(rows) > PATHS:  # a row of two samples, with a gap between them
        ends = [torch.cat([blank, row]) for row in [*rows[1::2], blank.repeat(columns, 1, 1, 1)]]
        rows = [torch.cat(pair) for pair in zip(rows[::2], ends, strict=False)]
        ends_of_titles = [["", *row] for row in [*titles[1::2], [""] * columns]]
        titles = [a + b for a, b in zip(titles[::2], ends_of_titles, strict=False)]
        columns = 2 * columns + 1
    heading = "Samples and their nearest training images\nDistance: Euclidean, pixels in [0, 1]"
    path = folder / "neighbors.png"
    every = [title for row in titles for title in row]
    write(path, mosaic(torch.cat(rows), every, columns, heading, cell=0.92).savefig)
    return path


def nearest_images(
    images: Tensor, among: Tensor, count: int, search: "NearestNeighbors | None" = None
) -> tuple[Tensor, Tensor]:
    """Finds the nearest images (N, count, C, H, W) of each uint8 image, and their distances.

    Many calls are faster with what `search_among(among)` returns.
    """
    distances, places = (search or search_among(among)).kneighbors(_as_rows(images), count)
    return among[places], torch.from_numpy(distances).float() / 255


def search_among(images: Tensor) -> "NearestNeighbors":
    """Prepares a search among images uint8 (N, C, H, W)."""
    from sklearn.neighbors import NearestNeighbors

    return NearestNeighbors(algorithm="brute").fit(_as_rows(images))


def _as_rows(images: Tensor) -> np.ndarray:
    return images.flatten(1).float().numpy()


def draw_animation(folder: Path, run: Path | None) -> Path:
    """Makes `training.gif` from the run's sample grids, each with its step."""
    grids = sorted((run / "figures").glob("samples_*.png")) if run else []
    if not grids:
        where = run / "figures" if run else "the checkpoint's run folder"
        raise UserError(f"--gif: there are no samples_*.png in {where}")
    steps = [int(grid.stem.rpartition("_")[2]) for grid in grids]
    pictures = [Image.open(grid) for grid in grids]
    frames = [
        below_title(picture, f"step {step:,}")
        for picture, step in zip(pictures, steps, strict=True)
    ]
    times = [FRAME_MS] * (len(frames) - 1) + [LAST_FRAME_MS]
    options: dict[str, Any] = {"append_images": frames[1:], "duration": times, "loop": 0}
    path = folder / "training.gif"
    write(path, lambda file: frames[0].save(file, save_all=True, **options))
    return path

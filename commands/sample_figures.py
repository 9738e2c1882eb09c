"""Figures of `sample`: grid, paths through the latent space, nearest images, animation."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning import LightningDataModule
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from PIL import Image
from torch import Tensor
from torch.nn.functional import one_hot

from callbacks.figures import below_title, mosaic, tile, write_png
from datamodules.base import InMemoryDataModule
from models.gan import GAN
from models.sampling import Draws, sample
from runtime.files import write

if TYPE_CHECKING:
    from sklearn.neighbors import NearestNeighbors

Classes = list[int] | None
COLUMNS = 10
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
    write_png(path, tile(images.float() / 255, columns), names_of_rows)
    return path


def draw_paths(
    folder: Path, model: GAN, seed: int, way: str | None, between: Classes, classes: Classes
) -> list[Path]:
    """Draws `interpolation.png`, from latent to latent, and `between_A_B.png`, class to class."""
    rows = len(classes) if classes else COLUMNS
    draws = Draws(model, max(2 * rows, COLUMNS), seed)
    latents = torch.cat([draw.latents for draw in draws])
    shares = torch.linspace(0, 1, COLUMNS)
    pictures = {}
    if way:
        mix = spherical if way == "spherical" else torch.lerp
        start, end = latents[:rows], latents[rows : 2 * rows]
        path = torch.stack([mix(start, end, share) for share in shares], dim=1)
        labels = torch.tensor(classes).repeat_interleave(COLUMNS) if classes else None
        pictures["interpolation"] = sample(model, path.flatten(0, 1), labels)
    if between:
        first, last = one_hot(torch.tensor(between), model.num_classes or -1).float()
        mixtures = torch.stack([torch.lerp(first, last, share) for share in shares])
        path = latents[:COLUMNS].repeat_interleave(COLUMNS, dim=0)  # A row keeps its latent.
        name = f"between_{between[0]}_{between[1]}"
        pictures[name] = sample(model, path, mixtures.repeat(COLUMNS, 1))
    for name, images in pictures.items():
        write_png(folder / f"{name}.png", tile(images, COLUMNS))
    return [folder / f"{name}.png" for name in pictures]


def spherical(start: Tensor, end: Tensor, share: Tensor) -> Tensor:
    """Interpolates between latents (B, D) along a great circle, which keeps their length typical.

    White 2016, "Sampling generative networks", section 2.1. A straight line between two Gaussian
    latents passes near 0, where the density of latents is low.
    """
    cosine = torch.cosine_similarity(start, end, dim=1).clamp(-1 + 1e-6, 1 - 1e-6)
    angle = cosine.arccos()[:, None]
    return (((1 - share) * angle).sin() * start + (share * angle).sin() * end) / angle.sin()


def draw_neighbors(folder: Path, images: Tensor, data: LightningDataModule | None) -> Path:
    """Draws `neighbors.png`: each sample (uint8), then its nearest training images in pixels."""
    if not isinstance(data, InMemoryDataModule):
        raise MisconfigurationException("--neighbors needs training images: give --data as well")
    data.prepare_data()
    data.setup("fit")
    assert data.splits is not None
    train = data.splits.train.inputs
    if train.shape[1:] != images.shape[1:]:
        raise MisconfigurationException(
            f"--neighbors: training examples of shape {tuple(train.shape[1:])} cannot be compared "
            f"with samples of shape {tuple(images.shape[1:])}: give the --data of the training run"
        )
    nearest, distances = nearest_images(images, train, NEIGHBORS)
    shown = torch.cat([images[:, None], nearest], dim=1).flatten(0, 1)
    titles = [t for row in distances.tolist() for t in ("sample", *(f"{x:.1f}" for x in row))]
    heading = "Samples and their nearest training images (distance in pixels of 0..1)"
    path = folder / "neighbors.png"
    write(path, mosaic(shown, titles, 1 + NEIGHBORS, heading).savefig)
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
        raise MisconfigurationException(f"--gif: there are no samples_*.png in {where}")
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

"""Figures of `sample`: grid, paths through the latent space, nearest images, animation."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from lightning import LightningDataModule
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor
from torch.nn.functional import one_hot

from callbacks.drawing import mosaic
from callbacks.figures import tile, write_png
from datamodules.base import InMemoryDataModule
from models.sampling import Draws, sample
from runtime.files import write

if TYPE_CHECKING:
    from models.gan import GAN

COLUMNS = 10
FRAME_MS, LAST_FRAME_MS = 300, 2000


def draw_grid(folder: Path, drawn: dict[str, Tensor], classes: list[int] | None) -> Path:
    """Draws `grid.png`: a row of up to ten images per class, in the order of `classes`.

    Args:
        folder: Folder of the picture.
        drawn: `images` uint8 (N, C, H, W) and, for a conditional model, `labels` (N,).
        classes: The classes to show; None for an unconditional model.
    """
    images = drawn["images"].float() / 255
    if classes is None:
        images, columns = images[: COLUMNS**2], COLUMNS
    else:
        blank = torch.zeros(COLUMNS, *images.shape[1:])
        rows = [images[drawn["labels"] == k][:COLUMNS] for k in dict.fromkeys(classes)]
        columns = max(len(row) for row in rows)
        images = torch.cat([torch.cat([row, blank])[:columns] for row in rows])
    path = folder / "grid.png"
    write_png(path, tile(images, columns))
    return path


def draw_paths(
    folder: Path,
    model: "GAN",
    seed: int,
    way: Literal["linear", "spherical"] | None,
    between: list[int] | None,
    classes: list[int] | None,
) -> list[Path]:
    """Draws `interpolation.png`, from latent to latent, and `between_A_B.png`, class to class."""
    rows = len(classes) if classes else COLUMNS
    draws = Draws(model, max(2 * rows, COLUMNS), seed)
    latents = torch.cat([draw.latents for draw in draws])
    written = []
    shares = torch.linspace(0, 1, COLUMNS)
    if way:
        mix = spherical if way == "spherical" else torch.lerp
        start, end = latents[:rows], latents[rows : 2 * rows]
        path = torch.stack([mix(start, end, share) for share in shares], dim=1)
        labels = torch.tensor(classes).repeat_interleave(COLUMNS) if classes else None
        images = sample(model, path.flatten(0, 1), labels)
        written.append(folder / "interpolation.png")
        write_png(written[-1], tile(images, COLUMNS))
    if between:
        assert model.num_classes is not None
        ends = one_hot(torch.tensor(between), model.num_classes).float()
        mixtures = torch.stack([torch.lerp(ends[0], ends[1], share) for share in shares])
        path = latents[:COLUMNS].repeat_interleave(COLUMNS, dim=0)  # A row keeps its latent.
        images = sample(model, path, mixtures.repeat(COLUMNS, 1))
        written.append(folder / f"between_{between[0]}_{between[1]}.png")
        write_png(written[-1], tile(images, COLUMNS))
    return written


def spherical(start: Tensor, end: Tensor, share: Tensor) -> Tensor:
    """Interpolates between latents (B, D) along a great circle, which keeps their length typical.

    White 2016, "Sampling generative networks", section 2.1. A straight line between two Gaussian
    latents passes near 0, where the density of latents is low.
    """
    cosine = torch.cosine_similarity(start, end, dim=1).clamp(-1 + 1e-6, 1 - 1e-6)
    angle = cosine.arccos()[:, None]
    return (((1 - share) * angle).sin() * start + (share * angle).sin() * end) / angle.sin()


def draw_neighbors(
    folder: Path, images: Tensor, data: LightningDataModule | None, count: int = 5
) -> Path:
    """Draws `neighbors.png`: each sample, then its nearest training images by pixel distance.

    Args:
        folder: Folder of the picture.
        images: uint8 (N, C, H, W).
        data: DataModule of the training images.
        count: Number of neighbours per sample.

    Raises:
        MisconfigurationException: There is no data module with images of this shape.
    """
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
    nearest, distances = nearest_images(images, train, count)
    shown = torch.cat([images[:, None], nearest], dim=1).flatten(0, 1)
    titles = [t for row in distances.tolist() for t in ("sample", *(f"{x:.1f}" for x in row))]
    heading = "Samples and their nearest training images (distance in pixels of 0..1)"
    figure = mosaic(shown, titles, columns=1 + count, heading=heading)
    path = folder / "neighbors.png"
    write(path, figure.savefig)
    return path


def nearest_images(images: Tensor, among: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Finds the images that are nearest to each image, nearest first.

    Args:
        images: uint8 (N, C, H, W).
        among: The images to search, uint8 (M, C, H, W).
        count: Number of neighbours per image.

    Returns:
        Images (N, count, C, H, W) and Euclidean distances (N, count) of pixels in [0, 1].
    """
    query = images.flatten(1).float() / 255
    best = torch.full((len(images), count), float("inf"))
    places = torch.zeros(len(images), count, dtype=torch.int64)
    for start in range(0, len(among), 10_000):
        chunk = among[start : start + 10_000].flatten(1).float() / 255
        distances = torch.cat([best, torch.cdist(query, chunk)], dim=1)
        candidates = torch.arange(start, start + len(chunk)).expand(len(images), -1)
        best, chosen = distances.topk(count, largest=False)
        places = torch.cat([places, candidates], dim=1).gather(1, chosen)
    return among[places], best


def draw_animation(folder: Path, run: Path | None) -> Path:
    """Makes `training.gif` from the sample grids that the run drew from the same latents.

    Raises:
        MisconfigurationException: The run has no grids.
    """
    from PIL import Image

    grids = sorted((run / "figures").glob("samples_*.png")) if run else []
    if not grids:
        where = run / "figures" if run else "the checkpoint's run folder"
        raise MisconfigurationException(f"--gif: there are no samples_*.png in {where}")
    frames = [Image.open(grid) for grid in grids]
    times = [FRAME_MS] * (len(frames) - 1) + [LAST_FRAME_MS]
    options: dict[str, Any] = {"append_images": frames[1:], "duration": times, "loop": 0}
    path = folder / "training.gif"
    write(path, lambda file: frames[0].save(file, save_all=True, **options))
    return path

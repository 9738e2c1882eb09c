"""Figures of `sample`: grid, paths through the latent space, nearest images, animation."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import one_hot
from torchvision.transforms.functional import to_pil_image

from figures.pictures import below_title, beside, mosaic, tile, write_png
from models.generative import Generative, to_pixels
from models.sampling import Draws, sample
from runtime.errors import UserError
from runtime.files import write

if TYPE_CHECKING:
    from commands.sample import Samples

COLUMNS = 10
PATHS = 5  # rows of paths without classes
SLIDE_PX, CELL_PX = (1200, 640), 168  # width and height of a grid; of an image of a small one
NEIGHBORS = 5  # training images per sample
FRAME_MS, LAST_FRAME_MS = 300, 2000


def as_tensor(images: Any) -> Tensor:
    """Converts images (N, H, W) or (N, H, W, C) to a tensor (N, C, H, W)."""
    pixels = torch.as_tensor(images)
    return pixels[:, None] if pixels.dim() == 3 else pixels.movedim(-1, 1)


def draw_grid(
    folder: Path, drawn: "Samples", classes: list[int] | None, names: Sequence[str]
) -> tuple[Path, int]:
    """Draws `grid.png`: up to ten images per class, a named row each; returns how many it shows.

    Images without classes make a square, at most 10 x 10.
    """
    images, columns = as_tensor(drawn.images), COLUMNS
    if classes is None or drawn.labels is None:
        columns = min(COLUMNS, math.ceil(len(images) ** 0.5))
        images = images[: columns**2]
        shown = len(images)
    else:
        blank = images.new_zeros(COLUMNS, *images.shape[1:])
        rows = [images[torch.as_tensor(drawn.labels == k)][:COLUMNS] for k in classes]
        columns, shown = max(map(len, rows)), sum(map(len, rows))
        images = torch.cat([torch.cat([row, blank])[:columns] for row in rows])
    path = folder / "grid.png"
    write_png(path, _slide(images.float() / 255, columns), [names[k] for k in classes or []])
    return path, shown


def _slide(images: Tensor, columns: int) -> Tensor:
    """Joins images (N, C, H, W) row by row, as large as a slide permits."""
    rows, (height, width) = -(-len(images) // columns), images.shape[2:]
    sizes = columns * (width + 2), rows * (height + 2)
    fits = min(SLIDE_PX[0] // sizes[0], SLIDE_PX[1] // sizes[1], CELL_PX // height)
    return tile(images, columns, scale=max(1, fits))


def draw_paths(
    folder: Path,
    model: Generative,
    seed: int,
    way: str | None,
    between: list[int] | None,
    classes: list[int] | None,
    names: Sequence[str],
) -> list[Path]:
    """Draws `interpolation.png`, from latent to latent, and `between_A_B.png`, class to class."""
    rows = len(classes) if classes else PATHS
    latents = torch.cat([draw.latents for draw in Draws(model, max(2 * rows, COLUMNS), seed)])
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


def draw_neighbors(folder: Path, images: Tensor, train: Tensor) -> Path:
    """Draws `neighbors.png`: each sample (uint8), then its nearest training images in pixels."""
    if train.shape[1:] != images.shape[1:]:
        raise UserError(
            f"--neighbors: training examples of shape {tuple(train.shape[1:])} cannot be compared "
            f"with samples of shape {tuple(images.shape[1:])}"
        )
    nearest, distances = nearest_images(images, train, NEIGHBORS)
    rows = torch.cat([images[:, None], nearest], dim=1).flatten(0, 1)
    titles = [["sample", *(f"{x:.1f}" for x in row)] for row in distances.tolist()]
    heading = "Samples and their nearest training images\nDistance: Euclidean, pixels in [0, 1]"
    path = folder / "neighbors.png"
    every = [title for row in titles for title in row]
    write(path, mosaic(rows, every, 1 + NEIGHBORS, heading, cell=0.92).savefig)
    return path


def nearest_images(images: Tensor, among: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Finds the nearest images (N, count, C, H, W) of each uint8 image, and their distances."""
    from sklearn.neighbors import NearestNeighbors

    known, wanted = (part.flatten(1).float().numpy() for part in (among, images))
    distances, places = NearestNeighbors(algorithm="brute").fit(known).kneighbors(wanted, count)
    return among[places], torch.from_numpy(distances).float() / 255


def draw_animation(folder: Path, run: Path) -> Path:
    """Makes `training.gif` from the run's sample grids, each with its step."""
    grids = sorted((run / "figures").glob("samples_*.png"))
    if not grids:
        raise UserError(f"--gif: there are no samples_*.png in {run / 'figures'}")
    frames = [
        below_title(Image.open(grid), f"step {int(grid.stem.rpartition('_')[2]):,}")
        for grid in grids
    ]
    times = [FRAME_MS] * (len(frames) - 1) + [LAST_FRAME_MS]
    options: dict[str, Any] = {"append_images": frames[1:], "duration": times, "loop": 0}
    path = folder / "training.gif"
    write(path, lambda file: frames[0].save(file, save_all=True, **options))
    return path

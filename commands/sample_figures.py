"""The pictures of `sample`: a grid, paths through the latent space, neighbours, an animation."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from lightning import LightningDataModule
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor
from torch.nn.functional import one_hot

from callbacks.drawing import mosaic
from callbacks.figures import tile, write_png
from models.sampling import Draws, sample
from runtime.files import write

if TYPE_CHECKING:
    from models.gan import GAN

COLUMNS = 10
FRAME_SECONDS, LAST_FRAME_SECONDS = 0.3, 2.0


def draw_grid(folder: Path, drawn: dict[str, Tensor], classes: list[int] | None) -> Path:
    """`grid.png`: up to ten images of each class in a row, in the order of the classes asked for.

    Args:
        folder: Where to write.
        drawn: `images` uint8 (N, 1, 28, 28) and, of a conditional model, `labels` (N,).
        classes: The classes asked for, or None where the model knows none.
    """
    images = drawn["images"].float() / 255
    if classes is None:
        images = images[: COLUMNS**2]
    else:
        blank = torch.zeros(COLUMNS, *images.shape[1:])
        rows = [images[drawn["labels"] == k][:COLUMNS] for k in dict.fromkeys(classes)]
        columns = max(len(row) for row in rows)
        images = torch.cat([torch.cat([row, blank])[:columns] for row in rows])
    path = folder / "grid.png"
    columns = min(COLUMNS, len(images)) if classes is None else columns
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
    """`interpolation.png`, from one latent to another, and `between_A_B.png`, class to class."""
    rows = len(classes) if classes else COLUMNS
    count = max(2 * rows, COLUMNS)
    latents = next(iter(Draws(model, min(count, Draws.BLOCK), seed))).latents
    written = []
    shares = torch.linspace(0, 1, COLUMNS)
    if way:
        mix = spherical if way == "spherical" else torch.lerp
        start, end = latents[:rows], latents[rows : 2 * rows]
        path = torch.stack([mix(start, end, share) for share in shares], dim=1)
        labels = None
        if classes:
            labels = torch.tensor(classes).repeat_interleave(COLUMNS)
        images = sample(model, path.flatten(0, 1), labels)
        written.append(folder / "interpolation.png")
        write_png(written[-1], tile(images, COLUMNS))
    if between:
        ends = one_hot(torch.tensor(between), cast(Any, model).num_classes).float()
        mixtures = torch.stack([torch.lerp(ends[0], ends[1], share) for share in shares])
        path = latents[:COLUMNS].repeat_interleave(COLUMNS, dim=0)  # a row keeps its latent
        images = sample(model, path, mixtures.repeat(COLUMNS, 1))
        written.append(folder / f"between_{between[0]}_{between[1]}.png")
        write_png(written[-1], tile(images, COLUMNS))
    return written


def spherical(start: Tensor, end: Tensor, share: Tensor) -> Tensor:
    """Between latents (B, D) along a great circle, so that their lengths stay likely ones.

    White 2016, "Sampling generative networks", section 2.1; a straight line between two Gaussian
    latents passes near 0, where hardly any latent lies.
    """
    cosine = torch.cosine_similarity(start, end, dim=1).clamp(-1 + 1e-6, 1 - 1e-6)
    angle = cosine.arccos()[:, None]
    return (((1 - share) * angle).sin() * start + (share * angle).sin() * end) / angle.sin()


def draw_neighbors(
    folder: Path, images: Tensor, data: LightningDataModule | None, count: int = 5
) -> Path:
    """`neighbors.png`: each sample, then the training images at the least distance in pixels.

    Args:
        folder: Where to write.
        images: uint8 (N, 1, 28, 28).
        data: Holds the training images.
        count: Neighbours of each sample.

    Raises:
        MisconfigurationException: There is no data module to ask.
    """
    if data is None:
        raise MisconfigurationException("--neighbors needs training images: give --data as well")
    data.prepare_data()
    data.setup("fit")
    train: Any = data.splits.train.inputs  # type: ignore[attr-defined]
    nearest, distances = nearest_images(images, train, count)
    shown = torch.cat([images[:, None], nearest], dim=1).flatten(0, 1)
    titles = [
        title
        for row in distances.tolist()
        for title in ("sample", *(f"{distance:.1f}" for distance in row))
    ]
    heading = "Samples and their nearest training images (distance in pixels of 0..1)"
    figure = mosaic(shown, titles, columns=1 + count, heading=heading)
    path = folder / "neighbors.png"
    write(path, figure.savefig)
    return path


def nearest_images(images: Tensor, among: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The nearest of some images to each image, nearest first.

    Args:
        images: uint8 (N, C, H, W).
        among: uint8 (M, C, H, W).
        count: How many for each.

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
    """`training.gif`: the sample grids that the run drew from the same latents, in time.

    Raises:
        MisconfigurationException: The run left no grids.
    """
    from PIL import Image

    grids = sorted((run / "figures").glob("samples_*.png")) if run else []
    if not grids:
        where = run / "figures" if run else "the checkpoint's run folder"
        raise MisconfigurationException(f"--gif: there are no samples_*.png in {where}")
    frames = [Image.open(grid) for grid in grids]
    times = [FRAME_SECONDS] * (len(frames) - 1) + [LAST_FRAME_SECONDS]
    path = folder / "training.gif"
    write(
        path,
        lambda file: frames[0].save(
            file,
            save_all=True,
            append_images=frames[1:],
            duration=[round(1000 * t) for t in times],
            loop=0,
        ),
    )
    return path

"""Generates images with a trained generator, and plots them."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning import LightningModule
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor
from torch.nn.functional import one_hot

from commands.arguments import checked
from datamodules.input_spec import class_names
from figures.codes import plot_latent_plane
from figures.pictures import as_image, mosaic, output_folder, tile, write_film, write_png
from figures.style import write_figure
from models import sampling
from models.generative import Generative, to_pixels
from models.sampling import LatentBatches
from results import Run
from results.building import inference
from runtime.errors import UserError
from runtime.files import write
from runtime.ranges import Count, Probability, Seed

MAX_TRIES_PER_IMAGE = 100  # most images that are sampled for one that passes the score limits
PER_ROW = 10
INTERPOLATED = 5  # rows from one latent or class to another
FRAME_MS = 150  # of noise on its way to an image
NEIGHBORS = 5  # training images beside a sample
NEIGHBORS_SEARCHED, NEIGHBORS_BLOCK = 10**6, 4096  # training images; compared at a time


class SampledImages(NamedTuple):
    """Images drawn from a generator."""

    images: np.ndarray  # uint8 (N, H, W), or (N, H, W, 3) in color
    labels: np.ndarray | None  # (N,); None: an unconditional model
    scores: np.ndarray | None  # (N,), D's probability that an image is real; None: there is no D


@checked
def sample(
    run: Path,
    count: Count = 100,
    classes: list[str] | None = None,
    seed: Seed = 0,
    min_score: Probability = 0.0,
    max_score: Probability = 1.0,
    interpolate: bool = False,
    between: list[str] | None = None,
    neighbors: Count | None = None,
    plane: bool = False,
    steps: Count | None = None,
    gif: bool = False,
    out: Path | None = None,
    trust: bool = False,
) -> SampledImages:
    """Generates images with a trained generator, into `grid.png` and `samples.npz`.

    `samples.npz` contains images (uint8, N x H x W in gray, N x H x W x 3 in color), the
    discriminator's scores, the seed and, for a conditional model, labels.

    Args:
        run: The trained model: a run's folder, a checkpoint, `last` or `best`.
        count: Number of images; a conditional model draws every class equally often.
        classes: Classes to draw, one row each, by number or name: `--classes 3 1 4`.
        seed: Seed of the latents.
        min_score: Keep only images that D scores as real with at least this probability.
        max_score: Keep only images that D scores as real with at most this probability.
        interpolate: Also draw `interpolation.png`: rows from one latent to another on the sphere.
        between: Also draw `between_A_B.png`: from one class to another, `--between 3 8`.
        neighbors: Also draw `neighbors.png`: this number of images beside the nearest training
            images.
        plane: Also draw `plane.png`: images, of the first of the classes, over a latent of two
            numbers.
        steps: Steps of a flow's solver from noise to image. By default those of its training.
        gif: Also make `training.gif` from the sample grids of the run, and for a flow `path.gif`:
            noise on its way to images.
        out: Folder of the files. By default `samples` in the run's folder, with a number if it
            holds a grid already.
        trust: Import the classes that the run names, also if its author is unknown.

    Returns:
        The images, labels and scores.
    """
    trained = Run.find(run, trust)
    print(f"Run: {trained.describe()}.")
    model = require_image_generator(trained.model())
    ends = class_numbers("between", between, model)
    if ends is not None and len(ends) != 2:
        raise UserError("--between takes two classes, such as --between 3 8")
    chosen = class_numbers("classes", classes, model)
    if steps is not None:
        if model.steps is None:
            name = type(model).__name__
            raise UserError(f"--steps is for flows, and {name} draws at once: leave it out")
        model.steps = steps
    known = None
    if neighbors:
        try:
            known = trained.data().examples("train", NEIGHBORS_SEARCHED).inputs
        except UserError as error:
            rank_zero_warn(f"No neighbors.png: {error}")
    grids = sorted((trained.folder / "figures").glob("samples_*.png"))
    if gif and not grids:
        raise UserError(f"--gif: there are no samples_*.png in {trained.folder / 'figures'}")
    drawn = sample_images(model, count, chosen, seed, min_score, max_score)
    latents = plot_latent_plane(model, chosen or ()) if plane else None
    folder = output_folder(out or unused_folder(trained.folder / "samples", "grid.png"), bool(out))
    arrays: dict[str, Any] = {k: v for k, v in drawn._asdict().items() if v is not None}
    wanted: list[Path] = []  # files that the options ask for

    def named(name: str) -> Path:
        wanted.append(folder / name)
        return wanted[-1]

    arrays_file, grid = folder / "samples.npz", folder / "grid.png"
    write(arrays_file, lambda file: np.savez_compressed(file, seed=np.array(seed), **arrays))
    names = class_names(model.input_spec, model.num_classes or 0)
    shown = write_grid(grid, drawn, names)
    model.cpu()
    if interpolate:
        rows = chosen or [*range(model.num_classes or 0)]
        write_interpolation(named("interpolation.png"), model, seed, rows, names)
    if ends:
        write_between_classes(named(f"between_{ends[0]}_{ends[1]}.png"), model, seed, ends, names)
    if known is not None:
        write_neighbors(named("neighbors.png"), drawn.images[:neighbors], known)
    if latents is not None:
        write_figure(named("plane.png"), latents)
    if gif:
        write_film(named("training.gif"), grids)
        if model.steps is not None:
            write_path(named("path.gif"), model, seed, chosen)
    for path in wanted:
        print(f"Wrote {path}")
    print(f"Wrote {grid}: {shown:,} images, of {len(drawn.images):,} in {arrays_file.name}")
    return drawn


@checked
def sample_images(
    model: LightningModule,
    count: Count = 25,
    classes: Sequence[str] | None = None,
    seed: Seed = 0,
    min_score: Probability = 0.0,
    max_score: Probability = 1.0,
) -> SampledImages:
    """Generates images without files, the same ones as `sample` with this seed.

    Args:
        model: A model that draws images, in memory, or a run.
        count: Number of images; a conditional model draws every class equally often, in turn.
        classes: The classes to draw, by number or name; None: all.
        seed: Seed of the latents.
        min_score: Keep only images that D scores as real with at least this probability.
        max_score: Keep only images that D scores as real with at most this probability.
    """
    generator = require_image_generator(model)
    chosen = class_numbers("classes", classes, generator)
    limited = min_score > 0 or max_score < 1
    limits = f"--min_score {min_score:g} and --max_score {max_score:g}"
    turns = chosen or [*range(generator.num_classes or 1)]  # without classes all are of one
    # Images that each class still needs, which may be given twice.
    room = {k: turns.count(k) * -(-count // len(turns)) for k in turns}
    tries = count * MAX_TRIES_PER_IMAGE if limited else count
    kept: list[tuple[Tensor, int, float]] = []  # image, class, score
    seen: list[float] = []
    with inference(model):
        for latents, given, _ in LatentBatches(generator, tries, seed, chosen):
            on_device = None if given is None else given.to(model.device)
            batch = sampling.generate(generator, latents.to(model.device), on_device)
            logits = generator.realness(batch, on_device)
            if logits is None and limited:
                raise UserError(f"{limits} need a discriminator, and this model has none")
            shares = [1.0] * len(latents) if logits is None else logits.float().sigmoid().tolist()
            seen += shares
            labels = turns[:1] * len(latents) if given is None else given.tolist()
            for image, label, share in zip(to_pixels(batch).cpu(), labels, shares, strict=True):
                if room[label] > 0 and min_score <= share <= max_score:
                    room[label] -= 1
                    kept.append((image, label, share))
            if not any(room.values()):
                break
    kept = kept[:count]
    if len(kept) < count:
        text = f"of {tries:,} drawn, with scores from {min(seen):.3f} to {max(seen):.3f}"
        if not kept:
            raise UserError(f"no image passes {limits} {text}: move the limit.")
        print(f"Only {len(kept):,} images pass {limits} {text}.")
    images, numbers, scores = zip(*kept, strict=True)
    return SampledImages(
        torch.stack(images).movedim(1, -1).squeeze(-1).numpy(),
        np.array(numbers) if generator.num_classes is not None else None,
        np.array(scores, np.float32) if logits is not None else None,
    )


def require_image_generator(model: object) -> Generative:
    """Refuses a model that draws no images."""
    if not isinstance(model, Generative):
        raise UserError(
            f"sample draws images from a generator, and this run's model is {type(model).__name__}"
        )
    if len(model.image_shape) != 3:
        raise UserError(
            "sample draws images, and this run draws points in the plane: see samples.png and "
            "training.gif in its figures/"
        )
    return model


def class_numbers(
    option: str, classes: Sequence[int | str] | None, model: Generative
) -> list[int] | None:
    """Returns the numbers of classes that are given by number or by name."""
    if classes is None:
        return None
    if model.num_classes is None:
        raise UserError(
            f"--{option} selects classes, but {type(model).__name__} is unconditional: "
            "leave it out, or sample a ConditionalGAN"
        )
    names = class_names(model.input_spec, model.num_classes)
    known = {str(k): k for k in range(len(names))} | {name: k for k, name in enumerate(names)}
    for name in map(str, classes):
        if name not in known:
            raise UserError(f"--{option}: {name} is not one of {', '.join(known)}")
    return [known[str(name)] for name in classes]


def unused_folder(folder: Path, name: str) -> Path:
    """Returns the folder, with a number appended if it contains this file already."""
    unused, number = folder, 1
    while (unused / name).exists():
        number += 1
        unused = folder.with_name(f"{folder.name}_{number}")
    return unused


def as_tensor(images: np.ndarray) -> Tensor:
    """Converts images (N, H, W) or (N, H, W, C) to a tensor (N, C, H, W)."""
    pixels = torch.from_numpy(images)
    return pixels[:, None] if pixels.dim() == 3 else pixels.movedim(-1, 1)


def write_grid(path: Path, drawn: SampledImages, names: Sequence[str]) -> int:
    """Plots up to ten images per class, a named row each, and returns how many it shows.

    Images without classes make a square, at most 10 x 10.
    """
    images = as_tensor(drawn.images)
    if drawn.labels is None:
        side = min(PER_ROW, math.ceil(len(images) ** 0.5))
        rows, titles = [*images[: side**2].split(side)], []
    else:
        classes = [*dict.fromkeys(drawn.labels.tolist())]  # in the order in which they were asked
        rows = [images[torch.from_numpy(drawn.labels == k)][:PER_ROW] for k in classes]
        titles = [names[k] for k in classes]
    columns = max(map(len, rows))
    blank = images.new_zeros(columns, *images.shape[1:])
    grid = torch.cat([torch.cat([row, blank])[:columns] for row in rows]).float() / 255
    write_png(path, tile(grid, columns), titles)
    return sum(map(len, rows))


def write_interpolation(
    path: Path, model: Generative, seed: int, classes: Sequence[int], names: Sequence[str]
) -> None:
    """Plots rows from one latent to another, each of one class if there are any."""
    rows = len(classes) or INTERPOLATED
    latents = torch.cat([draw.latents for draw in LatentBatches(model, 2 * rows, seed)])
    start, end = latents.split(rows)
    shares = torch.linspace(0, 1, PER_ROW)
    between = torch.lerp if model.latent == "uniform" else slerp
    way = torch.stack([between(start, end, share) for share in shares], dim=1).flatten(0, 1)
    labels = torch.tensor(classes).repeat_interleave(PER_ROW) if len(classes) else None
    picture = tile(sampling.generate(model, way, labels), PER_ROW)
    write_png(path, picture, [names[k] for k in classes])


def slerp(start: Tensor, end: Tensor, share: Tensor) -> Tensor:
    """Interpolates spherically between latents (B, D), which keeps their norm.

    White 2016, "Sampling generative networks", section 2.1. A straight line between two Gaussian
    latents passes near 0, where the density of latents is low.
    """
    cosine = torch.cosine_similarity(start, end, dim=1).clamp(-1 + 1e-6, 1 - 1e-6)
    angle = cosine.arccos()[:, None]
    return (((1 - share) * angle).sin() * start + (share * angle).sin() * end) / angle.sin()


def write_between_classes(
    path: Path, model: Generative, seed: int, ends: Sequence[int], names: Sequence[str]
) -> None:
    """Plots rows of one latent each, from class to class."""
    first, last = one_hot(torch.tensor(ends), model.num_classes or -1).float()
    mixtures = torch.stack([torch.lerp(first, last, k) for k in torch.linspace(0, 1, PER_ROW)])
    latents = torch.cat([draw.latents for draw in LatentBatches(model, INTERPOLATED, seed)])
    noise = latents.repeat_interleave(PER_ROW, dim=0)
    images = sampling.generate(model, noise, mixtures.repeat(INTERPOLATED, 1))
    left, right = (names[k] for k in ends)
    heading = f"From class {left} (left) to class {right} (right), one latent in each row"
    write_figure(path, mosaic(images, (), PER_ROW, heading, cell=0.7))


def write_path(path: Path, model: Any, seed: int, classes: Sequence[int] | None) -> None:
    """Writes a film of noise on its way to images, one of each class or ten."""
    ((latents, labels, _),) = LatentBatches(model, model.num_classes or PER_ROW, seed, classes)
    with inference(model):
        way = model.path(latents, labels)
        frames = [as_image(tile((points + 1) / 2, PER_ROW // 2)) for points in way]
    write_film(path, frames, FRAME_MS)


def write_neighbors(path: Path, images: np.ndarray, train: Any) -> None:
    """Plots each image (uint8), then its nearest training images, with their distances.

    `train` is a tensor or `StoredImages`.
    """
    wanted = as_tensor(images)
    distances, indices = torch.empty(len(wanted), 0), torch.empty(len(wanted), 0, dtype=torch.int64)
    for block in torch.arange(len(train)).split(NEIGHBORS_BLOCK):
        known, points = (part.flatten(1).float() / 255 for part in (train[block], wanted))
        table = torch.cat([distances, torch.cdist(points, known)], dim=1)
        numbers = torch.cat([indices, block.expand(len(wanted), -1)], dim=1)
        distances, nearest = table.topk(min(NEIGHBORS, table.shape[1]), largest=False)
        indices = numbers.gather(1, nearest)
    beside = train[indices.flatten()].unflatten(0, indices.shape)
    rows = torch.cat([wanted[:, None], beside], dim=1).flatten(0, 1)
    titles = [
        title for row in distances.tolist() for title in ("sample", *(f"{x:.1f}" for x in row))
    ]
    heading = "Samples and their nearest training images\nDistance: Euclidean, pixels in [0, 1]"
    write(path, mosaic(rows, titles, 1 + NEIGHBORS, heading, cell=0.92).savefig)

"""Draws images from a trained generator, with the pictures that show them."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import one_hot
from torchvision.transforms.functional import to_pil_image

from commands.loading import class_names, folder_of, inference, load, numbered, splits_of
from figures.pictures import below_title, beside, mosaic, output_folder, tile, write_png
from models import sampling
from models.generative import Generative, is_generative, to_pixels
from models.sampling import Draws
from runtime.errors import UserError
from runtime.files import write
from runtime.ranges import Count, NonNegative, Probability, Seed

TRIES = 100  # images drawn per image wanted, if scores select
COLUMNS = 10
PATHS = 5  # rows of paths without classes
NEIGHBORS = 5  # training images per sample
FRAME_MS = 300


class Samples(NamedTuple):
    """Images drawn from a generator."""

    images: np.ndarray  # uint8 (N, H, W), or (N, H, W, 3) in colour
    labels: np.ndarray | None  # (N,); None: the model is not told a class
    scores: np.ndarray | None  # (N,), D's probability that an image is real; None: there is no D


def sample(
    run: Path,
    count: Count = 100,
    classes: list[str] | None = None,
    seed: Seed = 0,
    min_score: Probability = 0.0,
    max_score: Probability = 1.0,
    interpolate: bool = False,
    between: list[str] | None = None,
    neighbors: NonNegative = 0,
    gif: bool = False,
    out: Path | None = None,
    trust: bool = False,
) -> Samples:
    """Draws images from a trained generator into `grid.png` and `samples.npz`.

    `samples.npz` contains images (uint8, N x H x W in grey, N x H x W x 3 in colour), the
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
        neighbors: Also draw `neighbors.png`: so many images beside the nearest training images.
        gif: Also make `training.gif` from the sample grids of the run.
        out: Folder of the files. By default `samples` in the run's folder, with a number if it
            holds a grid already.
        trust: Import the classes that the run names, whoever made it.

    Returns:
        The images, labels and scores.
    """
    model = check(load(run, trust))
    ends = numbers_of("between", between, model)
    if ends is not None and len(ends) != 2:
        raise UserError("--between takes two classes, such as --between 3 8")
    chosen = numbers_of("classes", classes, model)
    data = splits_of(run, trust=trust) if neighbors else None
    drawn = draw(model, count, chosen, seed, min_score, max_score)
    folder = output_folder(out or numbered(folder_of(run) / "samples", "grid.png"))
    rows = None if model.num_classes is None else chosen or [*range(model.num_classes)]
    model.cpu()
    names = class_names(model)
    grid, shown = draw_grid(folder, drawn, rows, names)
    arrays: dict[str, Any] = {k: v for k, v in drawn._asdict().items() if v is not None}
    path = folder / "samples.npz"
    write(path, lambda file: np.savez_compressed(file, seed=np.array(seed), **arrays))
    written = [path, grid]
    if interpolate:
        written.append(draw_interpolation(folder, model, seed, rows, names))
    if ends:
        written.append(draw_between(folder, model, seed, ends, names))
    if data is not None:
        images = as_tensor(drawn.images[:neighbors])
        written.append(draw_neighbors(folder, images, data.splits.train.inputs))
    if gif:
        written.append(draw_animation(folder, folder_of(run)))
    total = len(drawn.images)
    part = "" if shown == total else f", {shown:,} of them in grid.png"
    print(f"{total:,} images{part}. Wrote into {folder}: {', '.join(p.name for p in written)}")
    return drawn


def draw(
    model: Any,
    count: int = 25,
    classes: Sequence[int | str] | None = None,
    seed: int = 0,
    min_score: float = 0.0,
    max_score: float = 1.0,
) -> Samples:
    """Draws images from a model in memory, the same ones as `sample` with this seed.

    Args:
        model: A model that draws images.
        count: Number of images; a conditional model draws every class equally often, in turn.
        classes: The classes to draw, by number or name; None: all.
        seed: Seed of the latents.
        min_score: Keep only images that D scores as real with at least this probability.
        max_score: Keep only images that D scores as real with at most this probability.
    """
    generator, chosen = check(model), numbers_of("classes", classes, model)
    limits = " and ".join(
        [f"--min_score {min_score:g}"] * (min_score > 0)
        + [f"--max_score {max_score:g}"] * (max_score < 1)
    )
    if min_score > max_score:
        raise UserError(f"--min_score {min_score} is above --max_score {max_score}, so no image "
                        "can pass: exchange them, or leave one out")  # fmt: skip
    turns = chosen or [*range(generator.num_classes or 1)]  # without classes all are of one
    room = dict.fromkeys(turns, -(-count // len(turns)))  # images that each class still needs
    tries = count * TRIES if limits else count
    kept: list[tuple[Tensor, int, float]] = []  # image, class, score
    seen: list[float] = []
    with inference(model):
        for latents, given, _ in Draws(generator, tries, seed, chosen):
            told = None if given is None else given.to(model.device)
            batch = sampling.sample(generator, latents.to(model.device), told)
            logits = generator.realness(batch, told)
            if logits is not None:
                seen += logits.float().sigmoid().tolist()
            elif limits:
                raise UserError(f"{limits} needs a discriminator, and this model has none")
            labels = turns[:1] * len(latents) if given is None else given.tolist()
            shares = [1.0] * len(latents) if logits is None else seen[-len(latents) :]
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
    return Samples(
        torch.stack(images).movedim(1, -1).squeeze(-1).numpy(),
        np.array(numbers) if generator.num_classes is not None else None,
        np.array(scores, np.float32) if seen else None,
    )


def check(model: object) -> Generative:
    """Refuses a model that draws no images."""
    if not is_generative(model):
        raise UserError(
            f"sample draws images from a generator, and this run's model is {type(model).__name__}"
        )
    return model


def numbers_of(
    option: str, classes: Sequence[int | str] | None, model: Generative
) -> list[int] | None:
    """Returns the numbers of classes that are given by number or by name."""
    if classes is None:
        return None
    if model.num_classes is None:
        raise UserError(
            f"--{option} selects classes, but {type(model).__name__} is not told a class: "
            "leave it out, or sample a ConditionalGAN"
        )
    names = class_names(model)
    digits = {str(number): number for number in range(model.num_classes)}
    known = digits | {name: number for number, name in enumerate(names)}
    for name in map(str, classes):
        if name not in known:
            named = "" if len(known) == len(digits) else f" or {', '.join(names)}"
            raise UserError(f"--{option}: {name} is not one of 0 to {len(digits) - 1}{named}")
    return [known[str(name)] for name in classes]


def as_tensor(images: Any) -> Tensor:
    """Converts images (N, H, W) or (N, H, W, C) to a tensor (N, C, H, W)."""
    pixels = torch.as_tensor(images)
    return pixels[:, None] if pixels.dim() == 3 else pixels.movedim(-1, 1)


def draw_grid(
    folder: Path, drawn: Samples, classes: list[int] | None, names: Sequence[str]
) -> tuple[Path, int]:
    """Draws `grid.png`: up to ten images per class, a named row each; returns how many it shows.

    Images without classes make a square, at most 10 x 10.
    """
    images = as_tensor(drawn.images)
    if classes is None or drawn.labels is None:
        side = min(COLUMNS, math.ceil(len(images) ** 0.5))
        rows = [*images[: side**2].split(side)]
    else:
        rows = [images[torch.as_tensor(drawn.labels == k)][:COLUMNS] for k in classes]
    columns = max(map(len, rows))
    blank = images.new_zeros(columns, *images.shape[1:])
    grid = torch.cat([torch.cat([row, blank])[:columns] for row in rows]).float() / 255
    write_png(folder / "grid.png", tile(grid, columns), [names[k] for k in classes or []])
    return folder / "grid.png", sum(map(len, rows))


def draw_interpolation(
    folder: Path, model: Generative, seed: int, classes: list[int] | None, names: Sequence[str]
) -> Path:
    """Draws `interpolation.png`: rows from one latent to another, each of one class if given."""
    rows = len(classes or range(PATHS))
    start, end = _latents(model, 2 * rows, seed).split(rows)
    shares = torch.linspace(0, 1, COLUMNS)
    path = torch.stack([spherical(start, end, share) for share in shares], dim=1).flatten(0, 1)
    labels = torch.tensor(classes).repeat_interleave(COLUMNS) if classes else None
    title = "From one noise vector (left) to another (right), on a great circle"
    named = [names[k] for k in classes or []]
    return _draw_paths(folder / "interpolation.png", model, path, labels, title, named)


def draw_between(
    folder: Path, model: Generative, seed: int, ends: list[int], names: Sequence[str]
) -> Path:
    """Draws `between_A_B.png`: rows of one latent each, from class to class."""
    first, last = one_hot(torch.tensor(ends), model.num_classes or -1).float()
    mixtures = torch.stack([torch.lerp(first, last, k) for k in torch.linspace(0, 1, COLUMNS)])
    path = _latents(model, PATHS, seed).repeat_interleave(COLUMNS, dim=0)
    left, right = (names[k] for k in ends)
    title = f"From {left} (left) to {right} (right); each row keeps its noise"
    file = folder / f"between_{ends[0]}_{ends[1]}.png"
    return _draw_paths(file, model, path, mixtures.repeat(PATHS, 1), title, [])


def _latents(model: Generative, count: int, seed: int) -> Tensor:
    return torch.cat([draw.latents for draw in Draws(model, count, seed)])


def _draw_paths(
    file: Path, model: Generative, path: Tensor, labels: Tensor | None, title: str, rows: list[str]
) -> Path:
    picture = to_pil_image(to_pixels(tile(sampling.sample(model, path, labels), COLUMNS)).cpu())
    write(file, below_title(beside(picture, rows) if rows else picture, title).save)
    return file


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
    path = folder / "training.gif"
    options: dict[str, Any] = {"append_images": frames[1:], "duration": FRAME_MS, "loop": 0}
    write(path, lambda file: frames[0].save(file, save_all=True, **options))
    return path

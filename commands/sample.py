"""Draws images from a trained generator."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from commands.loading import class_names, folder_of, inference, load, numbered, splits_of
from commands.sample_figures import (
    as_tensor,
    draw_animation,
    draw_grid,
    draw_neighbors,
    draw_paths,
)
from figures.pictures import output_folder
from models import sampling
from models.generative import Generative, is_generative, to_pixels
from models.sampling import Draws
from runtime.errors import UserError
from runtime.files import write
from runtime.ranges import Count, NonNegative, Probability, Seed

TRIES = 100  # images drawn per image wanted, if scores select


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
    interpolate: Literal["linear", "spherical"] | None = None,
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
        interpolate: Also draw `interpolation.png`: rows from one latent to another, in a straight
            line or along the sphere.
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
    grid, shown = draw_grid(folder, drawn, rows, class_names(model))
    written = [_save(folder, drawn, seed), grid]
    if interpolate or ends:
        written += draw_paths(folder, model, seed, interpolate, ends, rows, class_names(model))
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
    images, labels, scores, seen = [], [], [], []
    with inference(model):
        for latents, given, _ in Draws(generator, tries, seed, chosen):
            told = None if given is None else given.to(model.device)
            batch = sampling.sample(generator, latents.to(model.device), told)
            logits = generator.realness(batch, told)
            if limits and logits is None:
                raise UserError(f"{limits} needs a discriminator, and this model has none")
            shares = None if logits is None else logits.float().sigmoid().cpu()
            kept = []
            for place in range(len(latents)):
                label = turns[0] if given is None else int(given[place])
                passes = shares is None or min_score <= float(shares[place]) <= max_score
                if passes and room[label] > 0:
                    room[label] -= 1
                    kept.append(place)
            images.append(to_pixels(batch[kept]).cpu())
            labels += [] if given is None else given[kept].tolist()
            if shares is not None:
                scores += shares[kept].tolist()
                seen += [float(shares.min()), float(shares.max())]
            if not any(room.values()):
                break
    found = torch.cat(images)[:count].movedim(1, -1).squeeze(-1).numpy()
    if len(found) < count:
        text = f"of {tries:,} drawn, with scores from {min(seen):.3f} to {max(seen):.3f}"
        if not len(found):
            raise UserError(f"no image passes {limits} {text}: move the limit.")
        print(f"Only {len(found):,} images pass {limits} {text}.")
    return Samples(
        found,
        np.array(labels[:count]) if generator.num_classes is not None else None,
        np.array(scores[:count], np.float32) if scores else None,
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
    numbers = {name: number for number, name in enumerate(names)}
    digits = [str(number) for number in range(model.num_classes)]
    for name in map(str, classes):
        if name not in numbers and name not in digits:
            named = "" if names == digits else f" or {', '.join(names)}"
            raise UserError(f"--{option}: {name} is not one of 0 to {len(digits) - 1}{named}")
    return [numbers[name] if name in numbers else int(name) for name in map(str, classes)]


def _save(folder: Path, drawn: Samples, seed: int) -> Path:
    arrays: dict[str, Any] = {k: v for k, v in drawn._asdict().items() if v is not None}
    path = folder / "samples.npz"
    write(path, lambda file: np.savez_compressed(file, seed=np.array(seed), **arrays))
    return path

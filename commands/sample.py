"""Samples of a trained generator: the Trainer's method `sample`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor

from callbacks.results import class_names, gather
from commands.sample_figures import draw_animation, draw_grid, draw_neighbors, draw_paths
from commands.trained import frame_of
from figures.pictures import output_folder
from models.gan import GAN
from models.generative import Draws
from runtime.errors import UserError
from runtime.files import write
from runtime.ranges import Count, NonNegative, Positive, Probability, Seed
from runtime.run_folder import run_folder_of

LARGEST_ROUND = 20_000  # Images per round; those that fail are dropped before the next.


@dataclass
class Wanted:
    """The images to draw, and the limits of the discriminator's P(real) for them."""

    count: int
    classes: list[int] | None  # numbers of classes
    seed: int
    min_score: float
    max_score: float
    max_tries: int  # Images drawn per image wanted.

    @property
    def limits(self) -> str:  # As options; empty if every score passes.
        low = [f"--min_score {self.min_score}"] if self.min_score > 0 else []
        high = [f"--max_score {self.max_score}"] if self.max_score < 1 else []
        return " ".join(low + high)


class Generation:
    """Mixin that adds the method `sample` to a Trainer."""

    def sample(
        self,
        model: LightningModule,
        datamodule: LightningDataModule | None = None,
        ckpt_path: str | Path | None = None,
        weights_only: bool | None = None,
        count: Count = 100,
        out: str | Path | None = None,
        classes: list[int | str] | None = None,
        seed: Seed = 0,
        min_score: Probability = 0.0,
        max_score: Probability = 1.0,
        max_tries: Positive = 100,
        interpolate: Literal["linear", "spherical"] | None = None,
        between: list[int | str] | None = None,
        neighbors: NonNegative = 0,
        gif: bool = False,
    ) -> None:
        """Draws images from a trained GAN into `grid.png` and `samples.npz`.

        `samples.npz` contains images (uint8, N x H x W in grey, N x H x W x 3 in colour),
        discriminator scores, the seed and, for a conditional model, labels. The same seed gives
        the same images on any number of processes.

        Args:
            model: A GAN.
            datamodule: Source of the training images for `neighbors`.
            ckpt_path: The trained weights: a checkpoint, a run folder, `last` or `best`.
            weights_only: Refuse a checkpoint that contains more than plain values.
            count: Number of images; a conditional model draws every class equally often.
            out: Folder of the files; by default `samples` in the run's folder.
            classes: Classes to draw, one row each, by number or name: `--classes 3 1 4`.
            seed: Seed of the latents.
            min_score: Keep only images that D scores as real with at least this probability.
            max_score: Keep only images that D scores as real with at most this probability.
            max_tries: Largest number of images drawn per image wanted.
            interpolate: Also draw `interpolation.png`: rows from one latent to another, in a
                straight line or along the sphere.
            between: Also draw `between_A_B.png`: from one class to another, `--between 3 8`.
            neighbors: Also draw `neighbors.png`: this many samples, each beside the training
                images nearest to it in pixels.
            gif: Also make `training.gif` from the run's sample grids.
        """
        trainer = cast(Trainer, self)
        if ckpt_path and isinstance(model, GAN):
            saved = torch.load(ckpt_path, "cpu", weights_only=True, mmap=True)
            model.frame = frame_of(model, saved)
        chosen = numbers_of("--classes", classes, model)
        ends = numbers_of("--between", between, model)
        wanted = Wanted(count, chosen, seed, min_score, max_score, max_tries)
        gan = check(model, wanted)
        if ends is not None and len(ends) != 2:
            raise UserError("--between takes two classes, such as --between 3 8")
        if count < trainer.world_size:
            raise UserError(
                f"--count {count} cannot be shared by {trainer.world_size} processes: draw more, "
                f"or set --trainer.devices to {count}"
            )
        run = run_folder_of(Path(ckpt_path)) if ckpt_path else None
        folder = Path(out or (run or Path(trainer.default_root_dir)) / "samples")
        if trainer.is_global_zero:
            output_folder(folder)
        if gan.num_classes is not None:
            wanted.classes = [*dict.fromkeys(chosen or range(gan.num_classes))]
        drawn = _draw(trainer, gan, wanted, {"ckpt_path": ckpt_path, "weights_only": weights_only})
        if not trainer.is_global_zero:
            return
        names = class_names(gan.frame, gan.num_classes or 0)
        written = [_save(folder, drawn, seed), draw_grid(folder, drawn, wanted.classes, names)]
        if interpolate or ends:
            written += draw_paths(folder, gan, seed, interpolate, ends, wanted.classes)
        if neighbors:
            written.append(draw_neighbors(folder, drawn["images"][:neighbors], datamodule))
        if gif:
            written.append(draw_animation(folder, run))
        files = ", ".join(path.name for path in written)
        print(f"{len(drawn['images']):,} images. Wrote into {folder}: {files}")


def numbers_of(
    option: str, classes: Sequence[int | str] | None, model: LightningModule
) -> list[int] | None:
    """Returns the numbers of classes that are given by number or by name."""
    if classes is None or not isinstance(model, GAN):
        return None
    if model.num_classes is None:
        raise UserError(
            f"{option} selects classes, but {type(model).__name__} is unconditional: "
            "leave it out, or sample a ConditionalGAN"
        )
    names = class_names(model.frame, model.num_classes)
    numbers = {name: number for number, name in enumerate(names)}
    found = [numbers.get(str(k), k) for k in classes]
    for k in found:
        if not isinstance(k, int) or not 0 <= k < model.num_classes:
            one_of = f"0 to {model.num_classes - 1}"
            if names != [str(number) for number in range(model.num_classes)]:
                one_of += f" or {', '.join(names)}"
            raise UserError(f"{option}: {k} is not one of {one_of}")
    return cast(list[int], found)


def check(model: LightningModule, wanted: Wanted) -> GAN:
    if wanted.min_score > wanted.max_score:
        raise UserError(
            f"--min_score {wanted.min_score} is above --max_score {wanted.max_score}, so no image "
            "can pass: exchange them, or leave one out"
        )
    if not isinstance(model, GAN):
        raise UserError(
            f"sample draws from a GAN, but this checkpoint is of {type(model).__name__}: give "
            "--ckpt_path a GAN's run"
        )
    return model


def _draw(
    trainer: Trainer, model: GAN, wanted: Wanted, checkpoint: dict[str, Any]
) -> dict[str, Tensor]:
    """Draws in rounds until enough images pass; every class gets the same share."""
    tries = wanted.count * (wanted.max_tries if wanted.limits else 1)
    kept: list[dict[str, Tensor]] = []
    seen: list[float] = []
    tried, size = 0, wanted.count
    while tried < tries:
        if wanted.limits:
            size = -(-size // Draws.BLOCK) * Draws.BLOCK  # Whole blocks, because others follow.
        size = min(size, tries - tried)
        ranks = trainer.global_rank, trainer.world_size
        draws = Draws(model, size, wanted.seed, wanted.classes, tried, *ranks)
        drawn, checkpoint = _predict(trainer, model, draws, checkpoint), {}  # Loaded now.
        tried, size = tried + size, min(2 * size, LARGEST_ROUND)
        scores = drawn["scores"]
        seen += [scores.min().item(), scores.max().item()]
        passes = (scores >= wanted.min_score) & (scores <= wanted.max_score)
        kept.append({k: v[passes] for k, v in drawn.items()})
        if passes.all() and len(passes) == wanted.count:
            return drawn
        found = {k: torch.cat([part[k] for part in kept]) for k in drawn}
        rows = torch.arange(len(found["images"]))
        if wanted.classes:  # As many of each class, in the order of drawing.
            quota = -(-wanted.count // len(wanted.classes))
            rows = torch.cat([rows[found["labels"] == k][:quota] for k in wanted.classes]).sort()[0]
        found = {k: v[rows[: wanted.count]] for k, v in found.items()}
        if len(found["images"]) == wanted.count:
            return found
    remedy = (
        f"in {tried:,} tries, with scores from {min(seen):.3f} to {max(seen):.3f}: move the limit, "
        f"or set --max_tries above {wanted.max_tries}."
    )
    if not len(found["images"]):
        raise UserError(f"no image passes {wanted.limits} {remedy}")
    count = f"{len(found['images']):,} of the {wanted.count:,} images wanted pass"
    rank_zero_warn(f"Only {count} {wanted.limits} {remedy}")
    return found


def _predict(
    trainer: Trainer, model: GAN, draws: Draws, checkpoint: dict[str, Any]
) -> dict[str, Tensor]:
    """Runs the Trainer's predict loop and returns all images on every rank, in order."""
    batches: Any = trainer.predict(model, draws, return_predictions=True, **checkpoint)
    parts = [batch for share in gather(batches) for batch in share]
    drawn = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    order = drawn["index"].argsort()
    return {name: values[order] for name, values in drawn.items()}


def _save(folder: Path, drawn: dict[str, Tensor], seed: int) -> Path:
    arrays: dict[str, Any] = {k: v.numpy() for k, v in drawn.items() if k != "index"}
    arrays["images"] = drawn["images"].movedim(1, -1).squeeze(-1).numpy()
    path = folder / "samples.npz"
    write(path, lambda file: np.savez_compressed(file, seed=np.array(seed), **arrays))
    return path

"""Putting a trained generator to use: the Trainer's method `sample`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor, distributed

from callbacks.figures import output_folder
from commands.sample_figures import draw_animation, draw_grid, draw_neighbors, draw_paths
from models.gan import GAN
from models.sampling import Draws
from runtime.files import write
from runtime.run_folder import run_folder_of

LARGEST_ROUND = 20_000  # images, of which those that do not pass are dropped before the next round


@dataclass(frozen=True)
class Wanted:
    """Which images of a generator to keep, by the discriminator's P(real)."""

    count: int
    min_score: float | None
    max_score: float | None

    @property
    def all(self) -> bool:
        """Whether any score will do."""
        return self.min_score is None and self.max_score is None

    def passes(self, scores: Tensor) -> Tensor:
        low = -1.0 if self.min_score is None else self.min_score
        high = 2.0 if self.max_score is None else self.max_score
        return (scores >= low) & (scores <= high)

    def __str__(self) -> str:
        limits = {"--min_score": self.min_score, "--max_score": self.max_score}
        return " ".join(f"{name} {value}" for name, value in limits.items() if value is not None)


class Generation:
    """For a Trainer to inherit, which thereby gets the method `sample`."""

    def sample(
        self,
        model: LightningModule,
        datamodule: LightningDataModule | None = None,
        ckpt_path: str | Path | None = None,
        weights_only: bool | None = None,
        count: int = 100,
        out: str | Path | None = None,
        digits: list[int] | None = None,
        seed: int = 0,
        min_score: float | None = None,
        max_score: float | None = None,
        max_tries: int = 100,
        interpolate: Literal["linear", "spherical"] | None = None,
        between: list[int] | None = None,
        neighbors: int = 0,
        gif: bool = False,
    ) -> None:
        """Draws images from a trained GAN into `grid.png` and `samples.npz`.

        The file holds images (uint8, N x 28 x 28), D's scores, the seed and, of a conditional
        model, labels. The same seed gives the same images, on any number of processes.

        Args:
            model: A GAN.
            datamodule: Gives the training images for `neighbors`.
            ckpt_path: The trained weights: a checkpoint, a run folder, `last` or `best`.
            weights_only: Whether to refuse a checkpoint that holds more than plain values.
            count: Images to draw; a conditional model draws every class equally often.
            out: Folder to write to; by default `samples` in the run's folder.
            digits: Classes to draw, one row each: `--digits 3 1 4`.
            seed: Seed of the latents.
            min_score: Keep only images that D thinks real with at least this probability.
            max_score: Keep only images that D thinks real with at most this probability.
            max_tries: Give up after so many images for each one wanted.
            interpolate: Also draw `interpolation.png`: rows from one latent to another, in a
                straight line or along the sphere.
            between: Also draw `between_A_B.png`: from one class to another, `--between 3 8`.
            neighbors: Also draw `neighbors.png`: so many samples, each beside the training images
                nearest to it in pixels.
            gif: Also draw `training.gif` from the sample grids that the run left.
        """
        trainer = cast(Trainer, self)
        gan = _check(model, digits, between, count, max_tries, seed)
        if count < trainer.world_size:
            raise MisconfigurationException(
                f"--count {count} cannot be shared by {trainer.world_size} processes: draw more, "
                f"or set --trainer.devices to {count}"
            )
        wanted = Wanted(count, min_score, max_score)
        folder = _folder(trainer, out, ckpt_path)
        classes = list(dict.fromkeys(digits or [])) or (  # each once
            list(range(gan.num_classes)) if gan.conditional else None
        )
        drawn = _draw(trainer, gan, wanted, classes, seed, max_tries, ckpt_path, weights_only)
        if not trainer.is_global_zero:
            return
        written = [_save(folder, drawn, seed), draw_grid(folder, drawn, classes)]
        if interpolate or between:
            written += draw_paths(folder, gan, seed, interpolate, between, classes)
        if neighbors:
            written.append(draw_neighbors(folder, drawn["images"][:neighbors], datamodule))
        if gif:
            written.append(draw_animation(folder, run_folder_of(Path(ckpt_path or ""))))
        names = ", ".join(path.name for path in written)
        print(f"{len(drawn['images']):,} images. Wrote into {folder}: {names}")


def _check(
    model: LightningModule,
    digits: list[int] | None,
    between: list[int] | None,
    count: int,
    max_tries: int,
    seed: int,
) -> Any:
    if not isinstance(model, GAN):
        raise MisconfigurationException(
            f"sample draws from a GAN, but this checkpoint is of {type(model).__name__}: give "
            "--ckpt_path a GAN's run"
        )
    for option, value, least in (
        ("count", count, 1),
        ("max_tries", max_tries, 1),
        ("seed", seed, 0),
    ):
        if value < least:
            raise MisconfigurationException(f"--{option} is {value}: set it to {least} or more")
    for option, classes in {"--digits": digits, "--between": between}.items():
        if classes is None:
            continue
        if not model.conditional:
            raise MisconfigurationException(
                f"{option} chooses classes, but {type(model).__name__} draws without being told "
                "one: leave it out, or sample a ConditionalGAN"
            )
        last = cast(Any, model).num_classes - 1
        if wrong := [k for k in classes if not 0 <= k <= last]:
            raise MisconfigurationException(f"{option}: {wrong[0]} is not one of 0 to {last}")
    if between is not None and len(between) != 2:
        raise MisconfigurationException("--between takes two classes, such as --between 3 8")
    return model


def _folder(trainer: Trainer, out: str | Path | None, ckpt_path: str | Path | None) -> Path:
    run = run_folder_of(Path(ckpt_path)) if ckpt_path else None
    folder = Path(out) if out else (run or Path(trainer.default_root_dir)) / "samples"
    return output_folder(folder) if trainer.is_global_zero else folder


def _draw(
    trainer: Trainer,
    model: GAN,
    wanted: Wanted,
    classes: list[int] | None,
    seed: int,
    max_tries: int,
    ckpt_path: str | Path | None,
    weights_only: bool | None,
) -> dict[str, Tensor]:
    """Draws until enough images pass, in rounds; every class gets the same share.

    Raises:
        MisconfigurationException: None passes.
    """
    tries = wanted.count if wanted.all else wanted.count * max_tries
    quota = -(-wanted.count // len(classes or [0]))
    kept: list[dict[str, Tensor]] = []
    seen: list[float] = []
    tried, size = 0, wanted.count
    while tried < tries:
        if not wanted.all:
            size = -(-size // Draws.BLOCK) * Draws.BLOCK  # whole blocks, since others follow
        size = min(size, tries - tried)
        rank, world_size = trainer.global_rank, trainer.world_size
        draws = Draws(model, size, seed, classes, tried, rank, world_size)
        drawn = _predict(trainer, model, draws, ckpt_path, weights_only)
        ckpt_path = None  # loaded now
        tried, size = tried + size, min(2 * size, LARGEST_ROUND)
        seen += [drawn["scores"].min().item(), drawn["scores"].max().item()]
        kept.append({k: v[wanted.passes(drawn["scores"])] for k, v in drawn.items()})
        found = {k: torch.cat([part[k] for part in kept]) for k in drawn}
        found = _first_of_each(found, quota, wanted.count)
        if len(found["images"]) == wanted.count:
            return found
    remedy = (
        f"in {tried:,} tries, with scores from {min(seen):.3f} to {max(seen):.3f}: move the limit, "
        f"or set --max_tries above {max_tries}."
    )
    if not len(found["images"]):
        raise MisconfigurationException(f"no image passes {wanted} {remedy}")
    count = f"{len(found['images']):,} of the {wanted.count:,} images wanted pass"
    rank_zero_warn(f"Only {count} {wanted} {remedy}")
    return found


def _predict(
    trainer: Trainer,
    model: GAN,
    draws: Draws,
    ckpt_path: str | Path | None,
    weights_only: bool | None,
) -> dict[str, Tensor]:
    """Runs the draws through the Trainer's predict loop; all images on every rank, in order."""
    batches = trainer.predict(
        model, draws, return_predictions=True, ckpt_path=ckpt_path, weights_only=weights_only
    )
    batches = cast(list[dict[str, Tensor]], batches or [])
    shares: list[Any] = [[{k: v.cpu() for k, v in batch.items()} for batch in batches]]
    if distributed.is_available() and distributed.is_initialized():
        mine, shares = shares[0], [None] * trainer.world_size
        distributed.all_gather_object(shares, mine)
    parts = [batch for share in shares for batch in share]
    drawn = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    order = drawn["index"].argsort()
    return {name: values[order] for name, values in drawn.items()}


def _first_of_each(found: dict[str, Tensor], quota: int, count: int) -> dict[str, Tensor]:
    """At most `quota` images of each class, and `count` in all, in the order of drawing."""
    labels = found.get("labels", torch.zeros(len(found["images"]), dtype=torch.int64))
    members = torch.nn.functional.one_hot(labels, int(labels.max()) + 1 if len(labels) else 1)
    rank_in_class = (members.cumsum(0) * members).sum(1)
    chosen = (rank_in_class <= quota).nonzero()[:, 0][:count]
    return {k: v[chosen] for k, v in found.items()}


def _save(folder: Path, drawn: dict[str, Tensor], seed: int) -> Path:
    arrays: dict[str, Any] = {
        "images": drawn["images"][:, 0].numpy(),
        "scores": drawn["scores"].numpy(),
    }
    if "labels" in drawn:
        arrays["labels"] = drawn["labels"].numpy()
    path = folder / "samples.npz"
    write(path, lambda file: np.savez_compressed(file, seed=np.array(seed), **arrays))
    return path

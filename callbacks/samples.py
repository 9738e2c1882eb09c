"""Samples of a generator from the same latents over the whole run."""

import math
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from callbacks.recording import datamodule_of
from datamodules.input_spec import class_names
from figures.codes import interpolations, plot_latent_plane, reconstructions
from figures.pictures import (
    figures_folder,
    log_picture,
    publish,
    tile,
    warn_if_it_fails,
    write_film,
    write_png,
)
from figures.points import plot_plane
from models.base import eval_mode
from models.generative import Generative
from models.sampling import generate
from runtime.files import write
from runtime.ranges import NonNegative

POINTS_PLOTTED = 1000  # in the plane
# Grids of a run, and steps between two if its length is unknown
GRIDS_PER_RUN, DEFAULT_INTERVAL = 20, 200


class SampleGrid(Callback):
    """Plots a generative model's samples before, about twenty times during, and after training.

    A conditional model's grid has a row for each class, with its name.

    Args:
        min_steps: Steps from one grid to the next; None: a twentieth of the run.
    """

    def __init__(self, min_steps: NonNegative | None = None) -> None:
        self.min_steps = min_steps
        self._drawn = -1  # step of the newest grid

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        steps = trainer.estimated_stepping_batches
        known = steps != -1 and not math.isinf(steps)
        twentieth = int(steps) // GRIDS_PER_RUN if known else DEFAULT_INTERVAL
        self._every = max(1, twentieth if self.min_steps is None else self.min_steps)

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, *_: Any) -> None:
        if trainer.global_step == 0:
            self._plot(trainer, pl_module)
            with warn_if_it_fails("samples.png"):
                if text := untrained_scores(pl_module, batch):
                    pl_module.print(text)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        if trainer.global_step % self._every == 0:
            self._plot(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        self._plot(trainer, pl_module)
        if len(pl_module.image_shape) == 1 and (folder := figures_folder(trainer)):
            with warn_if_it_fails("training.gif"):
                write_film(folder / "training.gif", sorted(folder.glob("samples_*.png")))
        elif pl_module.encodes:
            _plot_codes(trainer, pl_module)

    def _plot(self, trainer: Trainer, model: Generative) -> None:
        if self._drawn == trainer.global_step:
            return
        self._drawn = trainer.global_step
        if (folder := figures_folder(trainer)) is None:
            return
        with warn_if_it_fails("samples.png"):
            latents, labels = (x if x is None else x.to(model.device) for x in model.sample_grid())
            assert latents is not None
            images = generate(model, latents, labels)
            if images.dim() == 2:
                _plot_plane(trainer, model, folder)
                return
            picture = tile(images, len(images) // model.grid_rows)
            rows = (
                class_names(datamodule_of(trainer), model.num_classes) if model.num_classes else []
            )
            write_png(folder / "samples.png", picture, rows)
            _keep(trainer, folder)
            log_picture(trainer, "samples", folder / "samples.png")


def _plot_plane(trainer: Trainer, model: Generative, folder: Path) -> None:
    """Plots points in the plane over the data's."""
    data: Any = datamodule_of(trainer)
    drawn = model.draw_latents(POINTS_PLOTTED, torch.Generator().manual_seed(model.seed))
    latents, labels = (x if x is None else x.to(model.device) for x in drawn)
    assert latents is not None
    points = generate(model, latents, labels)
    title = f"{data.title}, step {trainer.global_step}"
    if (coverage := data.mode_coverage(points)) is not None:
        reached, known, inside = coverage
        title += f"\n{reached} of {known} clusters found, {inside:.0%} of the points in one"
    real, modes = (part[:POINTS_PLOTTED].to(model.device) for part in data.splits.train)
    with eval_mode(model):
        publish(
            trainer, folder, "samples",
            partial(plot_plane, model, real, modes, points, latents, labels, title),
        )  # fmt: skip
    _keep(trainer, folder)


def _keep(trainer: Trainer, folder: Path) -> None:
    """Keeps `samples.png`, which is always the newest grid, under the name of its step."""
    name = f"samples_{trainer.global_step:07d}.png"
    write(folder / name, partial(shutil.copyfile, folder / "samples.png"))


def _plot_codes(trainer: Trainer, model: Any) -> None:
    """Plots an autoencoder's reconstructions, and the plane of a latent of two numbers."""
    folder, data = figures_folder(trainer), datamodule_of(trainer)
    if folder is None or data is None:
        return
    split = data.examples("val", POINTS_PLOTTED) or data.examples("train", POINTS_PLOTTED)
    if split is None:
        return
    images, labels = (part.to(model.device) for part in split)
    images = images.float() / data.scale
    with eval_mode(model):
        with warn_if_it_fails("reconstructions.png"):
            for name, draw in {"reconstructions": reconstructions, "paths": interpolations}.items():
                write_png(folder / f"{name}.png", draw(model, images, labels))
                log_picture(trainer, name, folder / f"{name}.png")
        if model.latent_dim == 2:
            plane = partial(plot_latent_plane, model, (), images, labels)
            publish(trainer, folder, "plane", plane)


@torch.no_grad()
def untrained_scores(model: Generative, batch: Any) -> str:
    """Scores five real images and five of noise, which an untrained D cannot separate.

    Empty for a model without a discriminator.
    """
    images, labels = batch if isinstance(batch, list | tuple) else (batch, None)
    real = images[:5]
    noise = torch.rand(real.shape, generator=torch.Generator().manual_seed(0))
    both = torch.cat([real, noise.to(images)])
    with eval_mode(model):
        logits = model.realness(both, None if labels is None else labels[:5].repeat(2))
    if logits is None:
        return ""
    scores = logits.sigmoid()
    ours, others = (" ".join(f"{score:.3f}" for score in half) for half in scores.chunk(2))
    return f"Untrained discriminator, P(real): real images {ours}; noise {others}."

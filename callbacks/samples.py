"""Samples of a generator from the same latents over the whole run."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from callbacks.figures import figures_folder, log_picture, tile, write_png
from models.base import eval_mode
from models.gan import GAN
from models.sampling import sample
from runtime.ranges import NonNegative, check_ranges
from runtime.schedule import epoch_is_due


class SampleGrid(Callback):
    """Draws a grid of samples before training, after each epoch and at the end; a row per class.

    Args:
        min_steps: Smallest number of steps between two grids; skips the end of shorter epochs.
    """

    def __init__(self, min_steps: NonNegative = 200) -> None:
        check_ranges(SampleGrid, locals(), "samples.")
        self.min_steps = min_steps

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, *_: Any) -> None:
        if isinstance(pl_module, GAN) and trainer.global_step == 0:
            self._draw(trainer, pl_module)
            pl_module.print(untrained_scores(pl_module, *batch))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if isinstance(pl_module, GAN) and epoch_is_due(trainer, self.min_steps):
            self._draw(trainer, pl_module)

    def _draw(self, trainer: Trainer, model: GAN) -> None:
        if (folder := figures_folder(trainer)) is None:
            return
        images = sample(model, model.grid_latents, model.grid_labels)
        picture = tile(images, len(images) // model.grid_rows)
        write_png(folder / f"samples_{trainer.global_step:07d}.png", picture)
        write_png(folder / "samples.png", picture)  # Always the newest.
        log_picture(trainer, "samples", folder / "samples.png")


@torch.no_grad()
def untrained_scores(model: GAN, images: Tensor, labels: Tensor) -> str:
    """Scores five real images and five of noise, which an untrained D cannot tell apart."""
    noise = torch.rand(5, *images.shape[1:], generator=torch.Generator().manual_seed(0))
    both = torch.cat([images[:5], noise.to(images)])
    with eval_mode(model.discriminator):
        scores = model.realness(both, labels[:5].repeat(2)).sigmoid()
    real, fake = (" ".join(f"{score:.3f}" for score in half) for half in scores.chunk(2))
    return f"Untrained discriminator, P(real): five real images {real}; five of noise {fake}."

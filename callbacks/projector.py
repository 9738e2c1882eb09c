"""Generated and real images as points in TensorBoard's projector."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from lightning import Trainer

from callbacks.results import data_of
from figures.pictures import step_of, tensorboard
from metrics.judge import Judge
from models.gan import GAN
from models.generative import Draws, sample, to_pixels


@torch.no_grad()
def project(trainer: Trainer, model: GAN, judge: Judge, names: Sequence[str]) -> None:
    """Writes the judge's features of 500 generated and 500 real images, with thumbnails.

    Each point says whether its image is generated or real, and which class the judge sees.
    """
    writer, data = tensorboard(trainer), data_of(trainer)
    if writer is None or data is None or data.splits is None:
        return
    latents, labels, _ = next(iter(Draws(model, Draws.BLOCK, model.seed)))
    labels = labels if labels is None else labels.to(model.device)
    generated = to_pixels(sample(model, latents.to(model.device), labels))
    real = data.excerpt(data.splits.train, Draws.BLOCK).inputs.to(model.device)
    images = torch.cat([generated, real])
    features, predicted = judge.judge(images)
    kinds = ["generated"] * len(generated) + ["real"] * len(real)
    points = [[kind, names[k]] for kind, k in zip(kinds, predicted.tolist(), strict=True)]
    step = step_of(trainer)
    # of an earlier test; torch would print a warning
    shutil.rmtree(Path(writer.get_logdir(), f"{step:05d}", "features"), ignore_errors=True)
    writer.add_embedding(
        features, points, images.float() / 255, step, "features",
        metadata_header=["image", "class"],
    )  # fmt: skip

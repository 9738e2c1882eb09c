"""The generated images that are farthest from all real ones."""

from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from datamodules.base import Split
from figures.pictures import mosaic
from metrics import GeneratorQuality
from metrics.judge import Judge
from metrics.neighbours import farthest
from models.generative import Draws, sample, to_pixels

WORST, COLUMNS = 20, 10


def draw_worst(
    model: Any,
    judge: Judge,
    quality: GeneratorQuality,
    labels: Tensor,
    real: Split,
    names: Sequence[str],
) -> Figure:
    """Draws the worst of the scored images, the worst first, each above the nearest real one.

    Args:
        model: The GAN.
        judge: Its features tell how far apart images are.
        quality: Statistics of the images, with a `bank` of features.
        labels: Classes of the images, in their order, if they were asked for.
        real: The images that the scores are against.
        names: Names of the classes.
    """
    generated, held_out = quality.generated.compute()["bank"], quality.test_set.compute()["bank"]
    places, nearest = (found.cpu() for found in farthest(generated, held_out, WORST))
    drawn, asked = images_at(model, places, labels)
    seen = judge.judge(to_pixels(drawn))[1]
    titles = [f"seen as {names[k]}" for k in seen.tolist()]
    if asked is not None:
        pairs = zip(asked.tolist(), seen.tolist(), titles, strict=True)
        titles = [names[a] if a == s else f"{names[a]}, {title}" for a, s, title in pairs]
    pixels, classes = (part.cpu() for part in real.take(nearest.to(real.targets.device)))
    rows, texts = [], []
    for part in torch.arange(len(places)).split(COLUMNS):
        rows += [drawn[part].cpu(), pixels[part] / 255]
        texts += [titles[i] for i in part.tolist()]
        texts += [f"real {names[int(classes[i])]}" for i in part.tolist()]
    heading = f"The {len(places)} images farthest from real ones, above the nearest real ones"
    return mosaic(torch.cat(rows), texts, COLUMNS, heading, letters=11)


def images_at(model: Any, places: Tensor, labels: Tensor) -> tuple[Tensor, Tensor | None]:
    """Draws again the images of these numbers among all that are scored, and their classes."""
    images, asked = [], []
    for place in places.tolist():
        block = place - place % Draws.BLOCK
        (draw,) = Draws(model, Draws.BLOCK, model.seed, labels, block)
        row = slice(place - block, place - block + 1)
        latents = draw.latents[row].to(model.device)
        label = None if draw.labels is None else draw.labels[row].to(model.device)
        images.append(sample(model, latents, label))
        asked += [] if label is None else [label]
    return torch.cat(images), torch.cat(asked) if asked else None

"""Computations of `demo` with a GAN: an image of chosen latents, a path, nearest neighbours."""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor
from torch.nn.functional import one_hot
from torchvision.transforms.functional import to_pil_image

from commands.demo.models import Trained, training_images
from commands.sample_figures import nearest_images, search_among, spherical
from figures.pictures import mosaic
from models.gan import GAN
from models.generative import Draws, sample, to_pixels

SLIDERS = 8  # the first dimensions of the latents
STEPS = 10  # images of a path
NEIGHBORS = 5


class Wish(NamedTuple):
    """The images that a visitor asks for: a path from one image to another."""

    seed: int
    sliders: Sequence[float] = ()  # replace the first latents of that seed
    label: int = 0
    other_seed: int | None = None  # the path's end; None: the same
    other_label: int | None = None


class Shown(NamedTuple):
    """Images of a generator."""

    image: Image.Image
    score: float  # the discriminator's P(real)
    path: Figure  # with P(real) of each image
    neighbors: Figure | None  # the nearest training images with their distances
    missing: str  # why there are none


def latents_of(gan: GAN, seed: int) -> Tensor:
    """Returns the latents (1, latent_dim) of the first image that `sample --seed` draws."""
    return next(iter(Draws(gan, 1, seed))).latents


def moved(latents: Tensor, sliders: Sequence[float]) -> Tensor:
    """Replaces the first dimensions of latents (1, D) by the values of the sliders."""
    values = torch.tensor([sliders[: latents.shape[1]]], dtype=latents.dtype)
    return torch.cat([values, latents[:, values.shape[1] :]], dim=1)


def slider_values(gan: GAN, seed: int) -> list[float]:
    """Returns the first latents of a seed, at which the sliders begin; 0 beyond the last."""
    values = latents_of(gan, seed)[0, :SLIDERS].tolist()
    return [round(value, 2) for value in values] + [0.0] * (SLIDERS - len(values))


def slider_range(gan: GAN) -> tuple[float, float]:
    """Returns the range in which nearly all latents lie."""
    return (0.0, 1.0) if gan.latent == "uniform" else (-3.0, 3.0)


def inputs_of(gan: GAN, wish: Wish, shares: Tensor) -> tuple[Tensor, Tensor | None]:
    """Returns latents (N, D) and, if conditional, class mixtures (N, K) at shares (N,) of a path.

    Gaussian latents move along the sphere, on which typical ones lie; others in a straight line.
    """
    start = moved(latents_of(gan, wish.seed), wish.sliders)
    end = start if wish.other_seed is None else latents_of(gan, wish.other_seed)
    mix = torch.lerp if gan.latent == "uniform" or torch.equal(start, end) else spherical
    latents = torch.cat([mix(start, end, share) for share in shares])
    if gan.num_classes is None:
        return latents, None
    last = wish.label if wish.other_label is None else wish.other_label
    first, second = one_hot(torch.tensor([wish.label, last]), gan.num_classes).float()
    return latents, torch.stack([torch.lerp(first, second, share) for share in shares])


@torch.no_grad()
def draw(one: Trained, wish: Wish, share: float = 0.0) -> Shown:
    """Draws the image at a share of the path, and the whole path."""
    gan: Any = one.model
    shares = torch.cat([torch.linspace(0, 1, STEPS), torch.tensor([share])])
    latents, mixtures = inputs_of(gan, wish, shares)
    images = sample(gan, latents, mixtures)
    # D knows whole classes only, so a mixture counts as the class that it contains most of.
    labels = None if mixtures is None else mixtures.argmax(dim=1)
    scores = gan.realness(images, labels).float().sigmoid().tolist()
    pixels, (train, missing) = to_pixels(images), training_images(one)
    path = mosaic(pixels[:-1], [f"P {score:.2f}" for score in scores[:-1]], STEPS, cell=1)
    neighbors = None
    if train is not None:
        nearest, distances = nearest_images(
            pixels[-1:], train, min(NEIGHBORS, len(train)), search(one)
        )
        titles = [f"{distance:.1f}" for distance in distances[0].tolist()]
        neighbors = mosaic(nearest[0], titles, NEIGHBORS, cell=1)
    return Shown(enlarged(pixels[-1]), scores[-1], path, neighbors, missing)


@cache
def search(one: Trained) -> Any:
    """Prepares a search among a model's training images, once per model."""
    train, _ = training_images(one)
    return None if train is None else search_among(train)


def enlarged(image: Tensor, side: int = 336) -> Image.Image:
    """Enlarges an image uint8 (C, H, W) without smoothing, so that its pixels can be seen."""
    scale = max(1, side // max(image.shape[1:]))
    large = image.repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2)
    return to_pil_image(large)

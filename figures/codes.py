"""Pictures of the latent space of a model in eval mode."""

from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import one_hot

from figures.pictures import new_figure, picture, tile
from figures.style import styled
from runtime.errors import UserError

IMAGES_SHOWN, PATHS, COLUMNS = 20, 5, 10  # reconstructions; interpolations; images per row
PLANE = 15  # images along each side of the plane
OUTER = 0.02  # fraction of the latents beyond each edge


@torch.no_grad()
def reconstructions(model: Any, images: Tensor, labels: Tensor | None) -> Tensor:
    """Returns rows of originals (N, C, H, W), each above its reconstructions, as a picture."""
    images, labels = images[:IMAGES_SHOWN], None if labels is None else labels[:IMAGES_SHOWN]
    rebuilt = model.reconstruct(images, labels).to(images)
    rows = zip(images.split(COLUMNS), rebuilt.split(COLUMNS), strict=True)
    return tile(torch.cat([part for pair in rows for part in pair]), COLUMNS)


@torch.no_grad()
def interpolations(model: Any, images: Tensor, labels: Tensor | None) -> Tensor:
    """Interpolates linearly between the latents of two images, a row each, as a picture.

    The first and the last column are the real images. Classes change along with the latents.
    """
    count = min(PATHS, len(images) // 2)
    shares = torch.linspace(0, 1, COLUMNS - 2, device=images.device)[None, :, None]
    class_vectors = None
    codes = model.encode(images, labels)[0]
    way = torch.lerp(codes[:count, None], codes[count : 2 * count, None], shares)
    if labels is not None and model.num_classes is not None:
        ends = one_hot(labels, model.num_classes).to(codes)
        start, end = ends[:count, None], ends[count : 2 * count, None]
        class_vectors = torch.lerp(start, end, shares).flatten(0, 1)
    drawn = model(way.flatten(0, 1), class_vectors).to(images).unflatten(0, (count, -1))
    first, last = images[:count, None], images[count : 2 * count, None]
    return tile(torch.cat([first, drawn, last], dim=1).flatten(0, 1), COLUMNS)


@styled
@torch.no_grad()
def plot_latent_plane(
    model: Any, classes: Sequence[int], images: Tensor | None = None, labels: Tensor | None = None
) -> Figure:
    """Plots the images over the plane of a latent of two numbers, evenly by probability.

    Beside it, if real images are given, their latents, colored by class.

    Args:
        model: A model whose latents are two numbers.
        classes: The first one is shown; empty: class 0 of a conditional model.
        images: Real images (N, C, H, W) in [0, 1].
        labels: Their classes (N,).

    Raises:
        UserError: A latent has another size.
    """
    if model.latent_dim != 2:
        raise UserError(
            f"the plane shows a latent of 2 numbers, and this model's has {model.latent_dim}: "
            "train with --model.latent_dim 2"
        )
    shares = torch.linspace(OUTER, 1 - OUTER, PLANE)
    axis = shares if model.latent == "uniform" else torch.special.ndtri(shares)
    latents = torch.cartesian_prod(axis.flip(0), axis).flip(1).to(model.device)
    label = [*classes, 0][0] if model.num_classes else None
    chosen = None if label is None else torch.full((len(latents),), label, device=model.device)
    parts = 1 if images is None else 2
    figure, axes = new_figure(5.5 * parts, 5.5, 1, parts, squeeze=False)
    grid = tile(model(latents, chosen).float(), PLANE, padding=0, scale=1)
    codes = None if images is None else model.encode(images, labels)[0].float().cpu()
    left, right = axes[0, 0], axes[0, -1]
    left.imshow(picture(grid, 1), cmap="gray", vmin=0, vmax=1)
    of_class = "" if label is None else f", class {label}"
    left.set(title=f"images over the plane of latents{of_class}", xticks=(), yticks=())
    if codes is not None:
        colors = None if labels is None else labels.cpu().numpy()
        shown = right.scatter(*codes.T.numpy(), s=5, c=colors, cmap="tab10")
        right.set(title="latents of real images", xlabel="latent 1", ylabel="latent 2")
        if labels is not None:
            figure.colorbar(shown, label="class", shrink=0.75)
    return figure

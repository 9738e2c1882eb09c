"""Figures of `maximize`: inputs that excite units, filters, occlusion maps."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor
from torch.nn.functional import conv_transpose2d, pad

from figures.pictures import mosaic, new_figure, picture, styled


def draw_maximized(images: Tensor, activations: Tensor, names: Sequence[str], role: str) -> Figure:
    """Draws images (U, C, H, W), each below its unit's name and the activation (U,) it reaches."""
    reached = zip(names, activations.tolist(), strict=True)
    titles = [f"{name}\n{activation:.3g}" for name, activation in reached]
    heading = f"Inputs that excite the units of layer {role}, and the activation they reach"
    if role == "class_scores":
        heading = "Inputs that excite the class scores, and the logits they reach"
    return mosaic(images, titles, 10 if len(images) <= 100 else 20, heading)


def draw_filters(filters: Tensor) -> Figure:
    """Draws the weights (U, h, w) of the first layer's units: red is positive, blue negative."""
    cell = 0.7 if filters.shape[-1] < 12 else 1.0
    columns = 8 if len(filters) <= 64 else 16
    heading = "Weights of the first layer's units: red is positive, blue negative"
    return mosaic(filters, (), columns, heading, signed=True, cell=cell)


def spread(maps: Tensor, size: int, stride: int, height: int, width: int) -> Tensor:
    """Makes maps (N, H', W') of a square's places as large as their image, (N, H, W).

    A pixel gets the mean of the probabilities at all places where the square covers it. Pixels at
    the edge that no place covers get their neighbour's.
    """
    square = torch.ones(1, 1, size, size)
    total = conv_transpose2d(maps[:, None].float(), square, stride=stride)
    places = conv_transpose2d(torch.ones_like(maps[:, None]).float(), square, stride=stride)
    means = total / places.clamp(min=1)  # a stride is not longer than a square
    missing = (0, width - means.shape[3], 0, height - means.shape[2])
    return pad(means, missing, mode="replicate")[:, 0]


@styled
def draw_occlusion(images: Tensor, maps: Tensor, titles: Sequence[str], size: int) -> Figure:
    """Draws images (N, C, H, W), each above its map (N, H, W) of probabilities from 0 to 1."""
    count = len(images)
    figure, grid = new_figure(1.4 * max(count, 5) + 1.6, 4.8, 2, count, squeeze=False)
    for above, below, image, values, title in zip(*grid, images, maps, titles, strict=True):
        above.imshow(picture(image, float(images.max()) or 1.0), "gray", vmin=0)
        above.set_title(title)
        shown = below.imshow(values.numpy(), "YlOrRd_r", vmin=0, vmax=1)
        grey = image.float().mean(dim=0)
        level = float(grey.min() + grey.max()) / 2
        if grey.min() < level and min(grey.shape) > 1:
            below.contour(np.asarray(grey), [level], colors="black", linewidths=1)
        above.axis("off")
        below.axis("off")
    square = Rectangle((0.5, 0.5), size, size, color="0.5", label=f"the {size} x {size} square")
    grid[0, 0].add_patch(square)
    figure.legend(handles=[square], loc="outside lower left")
    figure.colorbar(shown, ax=grid[1, :], label="probability", ticks=[0, 0.5, 1])
    figure.suptitle(
        "Probability of the true class: uncovered, and with the square over each pixel",
        fontsize=14,
    )
    return figure

"""Figures of `maximize`: inputs that excite units, filters, occlusion maps."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from torch import Tensor

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


@styled
def draw_occlusion(
    images: Tensor, maps: Tensor, titles: Sequence[str], size: int, stride: int
) -> Figure:
    """Draws images, each above its probability map as a square covers each place of the image."""
    count, (low, high) = len(images), probability_range(maps)
    figure, grid = new_figure(1.4 * max(count, 5) + 1.6, 4.8, 2, count, squeeze=False)
    for above, below, image, values, title in zip(*grid, images, maps, titles, strict=True):
        above.imshow(picture(image, float(images.max()) or 1.0), "gray", vmin=0)
        above.set_title(title)
        above.axis("off")
        shown = draw_map(below, image, values, size, stride, low, high)
    square = Rectangle((1, 1), size, size, color="0.5", label=f"the {size} x {size} square")
    grid[0, 0].add_patch(square)
    edge = Patch(fc="white", ec="0.5", label="white: the square's centre cannot be there")
    figure.legend(handles=[square, edge], loc="outside lower left", ncols=2)
    ticks = [low, (low + high) / 2, high]
    bar: dict[str, Any] = {"label": "probability", "ticks": ticks, "format": "{x:.2f}"}
    figure.colorbar(shown, ax=grid[1, :], **bar)
    figure.suptitle(
        "Probability of the true class: uncovered, and with the square at each place", fontsize=14
    )
    return figure


def probability_range(maps: Tensor) -> tuple[float, float]:
    """Returns the range of the colours: that of the maps, but not less than 0.05."""
    low, high = float(maps.min()), float(maps.max())
    missing = max(0.0, 0.05 - (high - low))
    return max(0.0, low - missing), max(high, 0.05)


def draw_map(
    axes: Any, image: Tensor, values: Tensor, size: int, stride: int, low: float, high: float
) -> Any:
    """Draws an occlusion map (H', W') with the outlines of its image (C, H, W); dark lowers P.

    A place is drawn one stride wide, around the square's centre. Returns what a colour bar needs.
    """
    height, width = image.shape[-2:]
    start = (size - stride) / 2
    down, right = (start + stride * places for places in values.shape)
    extent = (start, right, down, start)
    shown = axes.imshow(values.cpu().numpy(), "YlOrRd_r", extent=extent, vmin=low, vmax=high)
    grey = image.detach().float().mean(dim=0).cpu()
    level = float(grey.min() + grey.max()) / 2
    if grey.min() < level and min(grey.shape) > 1:
        x, y = (np.arange(length) + 0.5 for length in (width, height))
        axes.contour(x, y, grey.numpy(), [level], colors="black", linewidths=1)
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal")
    axes.axis("off")
    return shown

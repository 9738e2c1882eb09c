"""Figures of `maximize`: inputs that excite units, filters, occlusion maps."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from callbacks.figures import mosaic, new_figure, picture, styled


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
    count, (height, width) = len(images), images.shape[-2:]
    figure, grid = new_figure(1.8 * max(count, 4) + 1.6, 5, 2, count, squeeze=False)
    start = (size - stride) / 2  # A place is drawn one stride wide, around its centre.
    down, right = (start + stride * places for places in maps.shape[1:])
    extent = (start, right, down, start)
    whole: dict[str, Any] = {"cmap": "gray", "extent": (0, width, height, 0), "vmin": 0}
    for above, below, image, values, title in zip(*grid, images, maps, titles, strict=True):
        array = picture(image, float(images.max()) or 1.0)
        above.imshow(array, **whole)
        above.set_title(title)
        below.imshow(array, **whole)
        scale: dict[str, Any] = {"cmap": "viridis", "vmin": 0, "vmax": 1}
        shown = below.imshow(values.cpu().numpy(), extent=extent, alpha=0.7, **scale)
        for axes in (above, below):
            axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    square = Rectangle((1, 1), size, size, color="0.5", label=f"the {size} x {size} square")
    grid[0, 0].add_patch(square)
    figure.legend(handles=[square], loc="outside lower left")
    figure.colorbar(shown, ax=grid[1, :], label="probability", ticks=[0, 0.5, 1])
    figure.suptitle("Probability of the true class: uncovered, and with the square at each place")
    return figure

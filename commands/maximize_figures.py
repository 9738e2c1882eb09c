"""Figures of `maximize`: optimised inputs, filters of the first layer, occlusion maps."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from callbacks.figures import mosaic, new_figure, picture


def draw_maximized(images: Tensor, activations: Tensor, names: Sequence[str], layer: str) -> Figure:
    """Draws images (U, C, H, W), each below its unit's name and the activation (U,) it reaches."""
    reached = zip(names, activations.tolist(), strict=True)
    titles = [f"{name}\n{activation:.3g}" for name, activation in reached]
    heading = f"Inputs that excite layer {layer}, and the activation they reach"
    return mosaic(images, titles, 10 if len(images) <= 100 else 20, heading)


def draw_filters(filters: Tensor) -> Figure:
    """Draws the weights (U, h, w) of the first layer's units: red is positive, blue negative."""
    cell = 0.55 if filters.shape[-1] < 12 else 0.85
    columns = 8 if len(filters) <= 64 else 16
    heading = "Weights of the first layer's units: red is positive, blue negative"
    return mosaic(filters, (), columns, heading, signed=True, cell=cell)


def draw_occlusion(
    images: Tensor, maps: Tensor, titles: Sequence[str], size: int, stride: int
) -> Figure:
    """Draws images, each above a map of its class's probability as a square covers each place.

    Args:
        images: (N, C, H, W).
        maps: Probabilities of the true class (N, H', W').
        titles: One title per image.
        size: Side of the square in pixels.
        stride: Distance of neighbouring places in pixels.
    """
    height, width = images.shape[-2:]
    count = len(images)
    figure, grid = new_figure(1.25 * max(count, 3) + 1, 3.3, 2, count, squeeze=False)
    start = (size - stride) / 2  # A place is drawn one stride wide, around its centre.
    down, right = (start + stride * places for places in maps.shape[1:])
    extent = (start, right, down, start)
    for above, below, image, values, title in zip(*grid, images, maps, titles, strict=True):
        array = picture(image, float(images.max()) or 1.0)
        above.imshow(array, cmap="gray", extent=(0, width, height, 0), vmin=0)
        above.set_title(title, fontsize=9)
        shown = below.imshow(values.cpu(), cmap="viridis", vmin=0, vmax=1, extent=extent)
        for axes in (above, below):
            axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    grid[0, 0].add_patch(Rectangle((1, 1), size, size, color="0.5"))
    figure.colorbar(shown, ax=grid[1, :], label="probability", ticks=[0, 0.5, 1])
    square = f"{size} x {size} square over each place"
    figure.suptitle(f"Probability of the true class, whole and with a {square}", fontsize=10)
    return figure

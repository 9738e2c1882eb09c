"""Pictures of what a network looks for: optimised inputs, first filters, occlusion maps."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from callbacks.drawing import mosaic

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_maximized(
    images: Tensor, activations: Tensor, names: Sequence[str], layer: str
) -> "Figure":
    """Images (U, C, H, W), each under its unit's name and the activation (U,) that it reaches."""
    titles = [
        f"{name}\n{activation:.3g}"
        for name, activation in zip(names, activations.tolist(), strict=True)
    ]
    heading = f"Inputs that excite layer {layer}, and the activation they reach"
    return mosaic(images, titles, min(len(images), 10 if len(images) <= 100 else 20), heading)


def draw_filters(filters: Tensor) -> "Figure":
    """Weights (U, h, w) of each unit of the first layer: red adds to it, blue takes from it."""
    cell = 0.55 if filters.shape[-1] < 12 else 0.85
    columns = 8 if len(filters) <= 64 else 16
    return mosaic(
        filters,
        (),
        columns,
        "Weights of the first layer's units: red adds, blue takes away",
        signed=True,
        cell=cell,
    )


def draw_occlusion(
    images: Tensor, maps: Tensor, titles: Sequence[str], size: int, stride: int
) -> "Figure":
    """Images, and beneath each how probable its class stays as a square covers each place.

    Args:
        images: (N, C, H, W).
        maps: Probabilities of the true class (N, H', W').
        titles: One for each image.
        size: Side of the square in pixels.
        stride: Pixels from one place to the next.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    height, width = images.shape[-2:]
    count = len(images)
    figure = Figure(figsize=(1.25 * max(count, 3) + 1, 3.3), layout="constrained", dpi=130)
    grid = figure.subplots(2, count, squeeze=False)
    start = (size - stride) / 2  # each place is drawn as one stride wide, around its centre
    down, right = (start + stride * places for places in maps.shape[1:])
    for above, below, image, values, title in zip(*grid, images, maps, titles, strict=True):
        picture = image.detach().float().cpu().movedim(0, -1).squeeze(-1)
        above.imshow(picture.numpy(), cmap="gray", extent=(0, width, height, 0), vmin=0)
        above.set_title(title, fontsize=9)
        shown = below.imshow(
            values.cpu().numpy(), cmap="viridis", vmin=0, vmax=1, extent=(start, right, down, start)
        )
        for axes in (above, below):
            axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    grid[0, 0].add_patch(Rectangle((1, 1), size, size, color="0.5"))
    figure.colorbar(shown, ax=grid[1, :], label="probability", ticks=[0, 0.5, 1])
    figure.suptitle(
        f"Probability of the true class, whole and with a {size} x {size} square over each place",
        fontsize=10,
    )
    return figure

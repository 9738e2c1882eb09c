"""Pictures of the features that a network has learned."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from commands.loading import class_names, folder_of, load, splits_of
from datamodules.base import InMemoryDataModule
from figures.pictures import mosaic, new_figure, output_folder, picture, styled, write_figure
from models import inspection as ascent
from models.classifier import is_classifier
from runtime.errors import UserError
from runtime.ranges import NonNegative, Positive

CANDIDATES = 1000  # test images, of which some are occluded
SQUARES = (0.21, 0.35, 0.5)  # shares of a side
FLAT = 0.1  # a range of probabilities that says little
ASCENT = {"lr": 0.05, "jitter": 1, "blur": 0.5, "l2": 0.02}  # a step, see `models.inspection`
READABLE = 5  # least side of a filter whose picture shows a shape


class Inspected(NamedTuple):
    """The part of a model whose features are drawn."""

    network: nn.Module
    forward: Callable[[Tensor], object]  # runs the network on images
    layer: str  # the layer to inspect by default
    image_shape: tuple[int, ...]
    num_classes: int | None  # classes that the default layer scores


def maximize(
    run: Path,
    layer: str | None = None,
    unit: NonNegative | None = None,
    steps: Positive = 200,
    occlusion: NonNegative = 8,
    data_dir: Path | None = None,
    out: Path | None = None,
    trust: bool = False,
) -> list[Path]:
    """Draws inputs that excite a network's units, its first filters, and occlusion maps.

    Writes `maximize_class_scores.png`, or `maximize_<layer>.png` of another layer, `filters.png`
    if the first layer's weights are large enough to show a shape, and for classifiers
    `occlusion.png`.

    Args:
        run: A classifier of images, or a GAN, whose discriminator is inspected: a run's folder, a
            checkpoint, `last` or `best`.
        layer: Name of a layer of the network; by default the last one, the class scores. The
            error for a wrong name lists all names.
        unit: A unit of that layer; by default all of them.
        steps: Steps of gradient ascent.
        occlusion: Number of test images to draw occlusion maps for, the least certain of those
            that are classified right; 0 draws none, and the data set is not needed.
        data_dir: Another folder for the run's data set.
        out: Folder for the pictures; by default the run's `figures`.
        trust: Import the classes that the run names, whoever made it.

    Returns:
        The pictures.
    """
    model = load(run, trust)
    part = inspect(model)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device)
    data = splits_of(run, data_dir, trust) if occlusion and is_classifier(model) else None
    high = 255 / model.frame.scale if model.frame and is_classifier(model) else 1.0
    name = (layer or part.layer).removeprefix("network.").removeprefix("discriminator.")
    units = None if unit is None else [unit]
    options: dict[str, Any] = ASCENT | {"seed": int(model.seed), "bounds": (0.0, high)}
    options["forward"] = part.forward
    images = ascent.maximize(part.network, name, units, part.image_shape, steps, **options)
    role, drawn = _maximized(model, part, name, unit, images)
    figures = {f"maximize_{role}": drawn}
    if (filters := _filters(part)) is not None:
        figures["filters"] = draw_filters(filters)
    if data is not None:
        figures["occlusion"] = _occlusion(model, part.network, data, occlusion, high)
    folder = output_folder(out or folder_of(run) / "figures")
    for title, figure in figures.items():
        write_figure(folder / f"{title}.png", figure)
    print(f"Drawn into {folder}: {', '.join(f'{title}.png' for title in figures)}")
    return [folder / f"{title}.png" for title in figures]


def inspect(model: Any) -> Inspected:
    """Returns a classifier's network (averaged weights if there are any) or a discriminator."""
    if hasattr(model, "discriminator"):

        def forward(images: Tensor) -> Tensor:  # no layer of the trunk sees the label
            return model.realness(images, images.new_zeros(len(images), dtype=torch.int64))

        layer = "classes" if hasattr(model.discriminator, "classes") else "realness"
        return Inspected(model.discriminator, forward, layer, model.image_shape, model.num_classes)
    if not is_classifier(model):
        raise UserError(
            f"maximize inspects a classifier or a GAN's discriminator, not {type(model).__name__}"
        )
    if len(model.input_shape) != 3:
        raise UserError(
            f"maximize draws images, but the inputs of {type(model).__name__} have shape "
            f"{model.input_shape}"
        )
    network = model.network if model.ema is None else model.ema.network
    return Inspected(
        network, network, ascent.last_layer(network), model.input_shape, model.num_classes
    )


def _maximized(
    model: Any, part: Inspected, name: str, unit: int | None, images: Tensor
) -> tuple[str, Figure]:
    """Draws images, each below its unit's name and activation; returns the layer's role too."""
    scores = ascent.activations(part.network, name, images, part.forward).cpu()
    units = torch.arange(scores.shape[1]) if unit is None else torch.tensor([unit])
    reached = scores.gather(1, units[:, None])[:, 0]
    names, role = [f"unit {place}" for place in units.tolist()], name
    if name == part.layer and scores.shape[1] == part.num_classes:
        names = [class_names(model)[place] for place in units.tolist()]
        role = "class_scores" if is_classifier(model) else name
    return role, draw_maximized(images, reached, names, role)


def _filters(part: Inspected) -> Tensor | None:
    """Returns the first layer's weights as pictures; None if they are too small to be read."""
    try:
        filters = ascent.first_layer_filters(part.network, part.image_shape)
    except UserError:  # no layer gets the image directly
        return None
    return filters if min(filters.shape[1:]) >= READABLE else None


def _occlusion(
    model: Any, network: nn.Module, data: InMemoryDataModule, count: int, high: float
) -> Figure:
    """Draws occlusion maps of the least certain of the test images that are classified right.

    The square covers a fifth of a side, or more if that hardly changes any probability.
    """
    assert data.splits is not None
    candidates = data.excerpt(data.splits.test, CANDIDATES)
    rows = tuple(part.to(model.device) for part in candidates)
    images, targets = data.on_after_batch_transfer(rows, 0)
    with torch.no_grad():
        uncovered = torch.cat([model.probabilities(x) for x in images.split(250)])
    shares = uncovered.gather(1, targets[:, None])[:, 0]
    wrong = uncovered.argmax(dim=1) != targets
    chosen = (shares + wrong.float()).argsort(stable=True)[:count]  # wrong ones come last
    images, targets, shares = images[chosen], targets[chosen], shares[chosen]
    options: dict[str, Any] = {"fill": high / 2, "probabilities": model.as_probabilities}
    for part in SQUARES:
        size = max(1, round(part * min(images.shape[2:])))
        stride = max(1, size // 3)
        maps = ascent.occlusion_map(network, images, targets, size, stride, **options)
        if maps.max() - maps.min() > FLAT:
            break
    names = class_names(model)
    pairs = zip(targets.tolist(), shares.tolist(), strict=True)
    titles = [f"{names[k]}\n{p:.2f}" for k, p in pairs]
    return draw_occlusion(images.cpu(), maps.cpu(), titles, size, stride)


def draw_maximized(images: Tensor, activations: Tensor, names: Sequence[str], role: str) -> Figure:
    """Draws images (U, C, H, W), each below its unit's name and the activation (U,) it reaches."""
    reached = zip(names, activations.tolist(), strict=True)
    titles = [f"{name}\n{activation:.3g}" for name, activation in reached]
    heading = f"Inputs that excite the units of {role}, and what they reach"
    return mosaic(images, titles, 10 if len(images) <= 100 else 20, heading)


def draw_filters(filters: Tensor) -> Figure:
    """Draws the weights (U, h, w) of the first layer's units: red is positive, blue negative."""
    heading = "Weights of the first layer's units: red is positive, blue negative"
    columns = 8 if len(filters) <= 64 else 16
    return mosaic(filters, (), columns, heading, signed=True, cell=0.9)


@styled
def draw_occlusion(
    images: Tensor, maps: Tensor, titles: Sequence[str], size: int, stride: int
) -> Figure:
    """Draws images (N, C, H, W), each above its map of probabilities from 0 to 1.

    A map (H', W') shows each probability where the middle of the square was.
    """
    count, (rows, columns) = len(images), maps.shape[1:]
    edge = (size - stride) / 2 - 0.5
    extent = (edge, edge + columns * stride, edge + rows * stride, edge)  # left, right, bottom, top
    figure, grid = new_figure(1.4 * max(count, 5) + 1.6, 4.8, 2, count, squeeze=False)
    for above, below, image, values, title in zip(*grid, images, maps, titles, strict=True):
        above.imshow(picture(image, float(images.max()) or 1.0), "gray", vmin=0)
        above.set_title(title)
        shown = below.imshow(values.numpy(), "YlOrRd_r", vmin=0, vmax=1, extent=extent)
        below.set(xlim=above.get_xlim(), ylim=above.get_ylim())
        grey = image.float().mean(dim=0)
        level = float(grey.min() + grey.max()) / 2
        if grey.min() < level and min(grey.shape) > 1:
            below.contour(np.asarray(grey), [level], colors="black", linewidths=1)
        above.axis("off")
        below.axis("off")
    figure.colorbar(shown, ax=grid[1, :], label="probability", ticks=[0, 0.5, 1])
    heading = (
        f"Probability of the true class: with a square of {size} pixels around each pixel below"
    )
    figure.suptitle(heading, fontsize=14)
    return figure

"""Pictures of the features that a classifier of images has learned."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from commands.arguments import checked
from datamodules.data_module import DataModule
from datamodules.input_spec import class_names
from figures.pictures import mosaic, output_folder, styled, write_figure
from models import inspection
from models.classifier import Classifier
from results import Run
from runtime.errors import UserError
from runtime.ranges import NonNegative, Positive

CANDIDATES = 1000  # test images, of which some are occluded
PER_ROW = 10
SQUARE = 0.25  # side of the square, as a fraction of the image's side


@checked
def maximize(
    run: Path,
    layer: str | None = None,
    steps: Positive = 200,
    occlusion: NonNegative = 8,
    data_dir: Path | None = None,
    out: Path | None = None,
    trust: bool = False,
) -> list[Path]:
    """Plots inputs that excite a classifier's units, its first filters, and occlusion maps.

    Writes `maximize_class_scores.png`, or `maximize_<layer>.png` of another layer, `filters.png`
    if the first layer's weights are large enough to show a shape, and `occlusion.png`.

    Args:
        run: A classifier of images: a run's folder, a checkpoint, `last` or `best`.
        layer: Name of a layer of the network, of which the first 100 units are drawn; by default
            the last one, the class scores. The error for a wrong name lists all names.
        steps: Steps of gradient ascent.
        occlusion: Number of test images to draw occlusion maps for, the least certain of those
            that are classified right; 0 draws none, and the data set is not needed.
        data_dir: Another folder for the run's data set.
        out: Folder for the pictures; by default the run's `figures`.
        trust: Import the classes that the run names, also if its author is unknown.

    Returns:
        The pictures.
    """
    trained = Run.find(run, trust)
    model = trained.model()
    if not isinstance(model, Classifier) or len(model.input_shape) != 3:
        kind = type(model).__name__
        raise UserError(f"maximize is for classifiers of images, and this run's model is {kind}")
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    data = trained.data(data_dir) if occlusion else None
    high = 255 / model.input_spec.scale if model.input_spec else 1.0
    network = model.network if model.ema is None else model.ema.network
    last = inspection.last_layer(network)
    layer = (layer or last).removeprefix("network.")
    options: dict[str, Any] = {"seed": int(model.seed), "bounds": (0.0, high)}
    images, reached = inspection.maximize_units(network, layer, model.input_shape, steps, **options)
    names, role = [f"unit {k}" for k in range(len(images))], layer
    if layer == last:
        names, role = class_names(model.input_spec, model.num_classes), "class_scores"
    figures = {f"maximize_{role}": plot_maximized(images, reached, names, role)}
    if (filters := inspection.first_layer_filters(network, model.input_shape)) is not None:
        heading = "Weights of the first layer's units: red is positive, blue negative"
        columns = 8 if len(filters) <= 64 else 16
        figures["filters"] = mosaic(filters, (), columns, heading, signed=True, cell=0.9)
    if data is not None:
        figures["occlusion"] = _occlusion(model, data, occlusion, high)
    folder = output_folder(out or trained.folder / "figures", bool(out))
    for title, figure in figures.items():
        write_figure(folder / f"{title}.png", figure)
    print(f"Drawn into {folder}: {', '.join(f'{title}.png' for title in figures)}")
    return [folder / f"{title}.png" for title in figures]


def plot_maximized(images: Tensor, activations: Tensor, names: Sequence[str], role: str) -> Figure:
    """Plots images (U, C, H, W), each below its unit's name and the activation (U,) it reaches."""
    reached = zip(names, activations.tolist(), strict=False)
    titles = [f"{name}\n{activation:.3g}" for name, activation in reached]
    heading = f"Inputs that excite the units of {role}, and what they reach"
    return mosaic(images, titles, PER_ROW, heading)


@torch.no_grad()
def _occlusion(model: Any, data: DataModule, count: int, high: float) -> Figure:
    """Plots occlusion maps of the least certain of the test images that are classified right."""
    candidates = data.examples("test", CANDIDATES)
    assert candidates is not None
    rows = tuple(part.to(model.device) for part in candidates)
    images, targets = data.on_after_batch_transfer(rows, 0)
    uncovered = torch.cat([model.probabilities(x) for x in images.split(250)])
    shares = uncovered.gather(1, targets[:, None])[:, 0]
    wrong = uncovered.argmax(dim=1) != targets
    chosen = (shares + wrong.float()).argsort(stable=True)[:count]  # wrong ones come last
    images, targets, shares = images[chosen], targets[chosen], shares[chosen]
    size = max(1, round(SQUARE * min(images.shape[2:])))
    stride = max(1, size // 3)
    maps = inspection.occlusion_map(model.probabilities, images, targets, size, stride, high / 2)
    names = class_names(model.input_spec, model.num_classes)
    pairs = zip(targets.tolist(), shares.tolist(), strict=True)
    titles = [f"{names[k]}\n{p:.2f}" for k, p in pairs]
    return plot_occlusion(images.cpu(), maps.cpu(), titles, size, stride)


@styled
def plot_occlusion(
    images: Tensor, maps: Tensor, titles: Sequence[str], size: int, stride: int
) -> Figure:
    """Plots images (N, C, H, W), each above its map of probabilities from 0 to 1.

    A map (H', W') becomes as large as its image: each pixel shows the probability for the square
    whose middle is nearest.
    """
    rows, columns = (
        ((torch.arange(side) + (1 + stride - size) / 2) // stride).long().clamp(0, count - 1)
        for side, count in zip(images.shape[2:], maps.shape[1:], strict=True)
    )
    scale = ScalarMappable(Normalize(0, 1), "YlOrRd_r")
    colors = torch.from_numpy(scale.cmap(maps[:, rows[:, None], columns].numpy())[..., :3])
    above = images / images.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)
    gap = torch.ones(len(images), 3, max(1, len(rows) // 28), len(columns))
    pairs = torch.cat([above.expand(-1, 3, -1, -1), gap, colors.movedim(-1, 1)], dim=2)
    heading = f"Below: probability of the true class if a square of {size} pixels there is hidden"
    figure = mosaic(pairs, titles, PER_ROW, heading)
    figure.set_figwidth(figure.get_figwidth() + 1)
    figure.colorbar(scale, ax=figure.axes, label="probability", ticks=[0, 0.5, 1], fraction=0.02)
    return figure

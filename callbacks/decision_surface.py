"""Decision surface of a classifier of two numbers."""

import torch
from lightning import Callback, LightningModule, Trainer
from matplotlib.figure import Figure
from torch import Tensor

from callbacks.results import data_of
from figures.pictures import figures_folder, new_figure, publish, styled
from models.base import eval_mode
from models.classifier import Classifier, is_classifier

UNDECIDED = 0.05  # a surface that is nowhere farther from 0.5 separates nothing


class DecisionSurface(Callback):
    """Draws `decision_surface.png` after training, for two inputs and two classes (the gates).

    Args:
        margin: Extent of the plane beyond the test points; 0.5 shows [-0.5, 1.5]^2 for a gate.
        resolution: Number of points along each axis.
    """

    def __init__(self, margin: float = 0.5, resolution: int = 201) -> None:
        self.margin, self.resolution = margin, resolution

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = data_of(trainer)
        if data is None or data.splits is None or data.input_shape != (2,):
            return
        if not is_classifier(pl_module) or pl_module.num_classes != 2:
            return
        points, targets = data.splits.test
        low, high = points.min().item() - self.margin, points.max().item() + self.margin
        axis = torch.linspace(low, high, self.resolution)
        surface = probability_surface(pl_module, axis)  # On every rank: weights may be sharded.
        if (folder := figures_folder(trainer)) is not None:
            figure = draw_surface(axis, surface, points, targets, data.title)
            publish(trainer, folder, "decision_surface", figure)


@torch.no_grad()
def probability_surface(model: Classifier, axis: Tensor) -> Tensor:
    """Computes P(class 1) at all pairs of values on `axis` (R,); rows are the second input."""
    second, first = torch.meshgrid(axis, axis, indexing="ij")
    points = torch.stack([first, second], dim=-1).view(-1, 2).to(model.device)
    with eval_mode(model):
        probabilities = model.probabilities(points)
    return probabilities[:, 1].view(len(axis), -1).cpu()


@styled
def draw_surface(
    axis: Tensor, surface: Tensor, points: Tensor, targets: Tensor, title: str = ""
) -> Figure:
    """Draws probabilities (R, R), their 0.5 line, and points (N, 2) of classes (N,)."""
    figure, axes = new_figure(7, 6)
    x, p = axis.numpy(), surface.numpy()
    heights = axes.pcolormesh(x, x, p, cmap="RdBu", vmin=0, vmax=1, shading="gouraud")
    figure.colorbar(heights, label="probability of 1", shrink=0.9, ticks=[0, 0.25, 0.5, 0.75, 1])
    found = "no 0.5 line"
    if max(p.max() - 0.5, 0.5 - p.min()) < UNDECIDED:  # its 0.5 line would be rounding errors
        ends = dict.fromkeys([f"{p.min():.2f}", f"{p.max():.2f}"])
        found = f"undecided, P(1) is {' to '.join(ends)} everywhere"
    elif p.min() < 0.5 < p.max():
        axes.contour(x, x, p, levels=[0.5], colors="black", linewidths=2)
        found = "0.5 along the black line"
    for value, color in ((0, "#b2182b"), (1, "#2166ac")):  # The lecture's red and blue.
        x1, x2 = points[targets == value].T.numpy()
        shown = axes.scatter(x1, x2, 170, color, edgecolor="white", linewidth=2, zorder=3)
        shown.set_label(str(value))
    axes.legend(title="truth", loc="upper right", frameon=True, framealpha=0.9)
    axes.set(xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
    axes.locator_params(nbins=5)
    axes.set_title(f"{title}: {found}" if title else found)
    return figure

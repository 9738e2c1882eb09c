"""Figures of generative models of points in the plane."""

from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from figures.pictures import new_figure
from figures.style import styled

DATA, DRAWN = "#9a9a9a", "#d1495b"
LEGEND = [
    Line2D([], [], color=color, label=label, marker="o", linestyle="none")
    for color, label in ((DATA, "data"), (DRAWN, "drawn"))
]
SIDE, QUIVERS = 100, 18  # of the field's raster; arrows in each direction
TIMES = (0.0, 0.25, 0.5, 0.75, 1.0)
LAST = 0.95  # last time of a plotted velocity, which is undefined at 1


@styled
@torch.no_grad()
def plot_plane(
    model: Any,
    data: Tensor,
    modes: Tensor,
    drawn: Tensor,
    latents: Tensor,
    labels: Tensor | None,
    title: str,
) -> Figure:
    """Plots points over the data, with a view of the model behind or beside them.

    Discriminator: P(real) at each point of the plane. Flow: velocity at five times. `Drift`:
    directions of the points. Encoder: the plane of latents, beside.

    Args:
        model: A generative model of points, in eval mode.
        data: Real points (N, 2) in the unit square.
        modes: The modes (N,) that they belong to.
        drawn: Points (M, 2) of the model.
        latents: Their latents (M, latent_dim).
        labels: Their classes (M,) of a conditional model.
        title: Text above all.
    """
    if (path := model.path(latents, labels)) is not None:
        figure = _plot_flow(model, data, [*path])
    elif model.encodes:
        figure = _plot_codes(model, data, modes, drawn)
    else:
        figure, axes = new_figure(5.2, 5.2)
        _show(axes, data, drawn)
        if (moves := model.directions(drawn, data)) is not None:
            axes.quiver(*arrows(drawn, moves), color="#2a5674", width=0.003, angles="xy")
        elif labels is None and model.realness(drawn[:1]) is not None:
            axis = torch.linspace(0, 1, SIDE, device=drawn.device)
            grid = torch.cartesian_prod(axis, axis)
            real = model.realness(grid).sigmoid().view(SIDE, SIDE).T.float().cpu().numpy()
            shown = axes.imshow(real, "RdBu", origin="lower", extent=(0, 1, 0, 1), vmin=0, vmax=1)
            figure.colorbar(shown, label="P(real), by the discriminator", shrink=0.75)
    figure.suptitle(title, fontsize=11)
    figure.legend(handles=LEGEND, loc="outside lower center", ncols=2, fontsize=10)
    return figure


def _show(axes: Axes, data: Tensor, drawn: Tensor) -> None:
    (x, y), (u, v) = data.T.cpu().numpy(), drawn.T.cpu().numpy()
    axes.scatter(x, y, 4, color=DATA, zorder=2)
    axes.scatter(u, v, 7, color=DRAWN, zorder=3)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=(), yticks=())


def arrows(points: Tensor, moves: Tensor) -> list[Any]:
    """Returns points and moves (N, 2) as quiver takes them: x, y and the lengths along both."""
    return [*points.T.cpu().numpy(), *moves.T.cpu().numpy()]


def _plot_flow(model: Any, data: Tensor, path: list[Tensor]) -> Figure:
    figure, row = new_figure(3 * len(TIMES), 3.5, 1, len(TIMES))
    axis = torch.linspace(-1.5, 1.5, QUIVERS, device=data.device)
    grid = torch.cartesian_prod(axis, axis)
    class_vectors = model.class_vectors(None, grid)
    for axes, time in zip(row, TIMES, strict=True):
        moves = model.velocity(grid, min(time, LAST), class_vectors)
        axes.quiver(*arrows(grid, moves), color="#2a5674", width=0.004, zorder=2)
        axes.scatter(*(2 * data - 1).T.cpu().numpy(), s=3, color=DATA)
        points = path[round(time * (len(path) - 1))]
        axes.scatter(*points.T.cpu().numpy(), s=5, color=DRAWN, zorder=3)
        axes.set(xlim=(-1.6, 1.6), ylim=(-1.6, 1.6), aspect="equal", xticks=(), yticks=())
        axes.set_title(f"t = {time:g}")
    return figure


def _plot_codes(model: Any, data: Tensor, modes: Tensor, drawn: Tensor) -> Figure:
    figure, (left, right) = new_figure(10, 5.2, 1, 2)
    _show(left, data, drawn)
    codes = model.encode(data, modes)[0][:, :2].cpu().numpy()
    angles = torch.atan2(*(data - data.mean(dim=0)).T.cpu()).numpy()
    right.scatter(*codes.T, s=6, c=angles, cmap="hsv")
    right.set(title="means of the encoder, colored by place", xlabel="latent 1", ylabel="latent 2")
    return figure

"""Figures of what a model of one or two numbers computes: decision surface, curve, heat maps."""

from matplotlib.figure import Figure
from torch import Tensor

from figures.pictures import new_figure
from figures.style import colors, styled

UNDECIDED = 0.05  # a surface that is nowhere farther from 0.5 separates nothing


@styled
def plot_surface(
    axis: Tensor, surface: Tensor, points: Tensor, targets: Tensor, title: str = ""
) -> Figure:
    """Plots probabilities (R, R) of class 1, their 0.5 line, and points (N, 2) of classes (N,)."""
    figure, axes = new_figure(7, 6)
    x, p = axis.numpy(), surface.numpy()
    heights = axes.pcolormesh(x, x, p, cmap="RdBu", vmin=0, vmax=1, shading="gouraud")
    figure.colorbar(heights, label="probability of 1", shrink=0.9, ticks=[0, 0.25, 0.5, 0.75, 1])
    boundary = "no 0.5 line"
    if max(p.max() - 0.5, 0.5 - p.min()) < UNDECIDED:  # its 0.5 line would be rounding errors
        ends = dict.fromkeys([f"{p.min():.2f}", f"{p.max():.2f}"])
        boundary = f"undecided, P(1) is {' to '.join(ends)} everywhere"
    elif p.min() < 0.5 < p.max():
        axes.contour(x, x, p, levels=[0.5], colors="black", linewidths=2)
        boundary = "0.5 along the black line"
    for value, color in ((0, "#b2182b"), (1, "#2166ac")):  # The lecture's red and blue.
        x1, x2 = points[targets == value].T.numpy()
        shown = axes.scatter(x1, x2, 170, color, edgecolor="white", linewidth=2, zorder=3)
        shown.set_label(str(value))
    axes.legend(title="truth", loc="upper right", frameon=True, framealpha=0.9)
    axes.set(xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
    axes.locator_params(nbins=5)
    axes.set_title(f"{title}: {boundary}" if title else boundary)
    return figure


def describe_errors(truth: Tensor, fit: Tensor) -> str:
    """Returns the largest and the root mean square error of a fit, in words."""
    error = (fit - truth).double()
    rms = error.square().mean().sqrt()
    return f"largest error {error.abs().max():.3g}, root mean square {rms:.3g}"


@styled
def plot_curve(
    x: Tensor, truth: Tensor, fit: Tensor, inputs: Tensor, targets: Tensor, title: str = ""
) -> Figure:
    """Plots truth and fit (N,) at x (N,), and the training data: inputs and targets (M, 1)."""
    figure, axes = new_figure(9.6, 5.2)
    axes.plot(x, truth, color="black", linewidth=8, alpha=0.2, label="truth")
    blue, red = colors()[0], colors()[3]
    size, label = 5 if len(inputs) < 300 else 3, f"data ({len(inputs):,} points)"
    axes.plot(inputs, targets, "o", color=blue, markersize=size, zorder=2.5, label=label)
    axes.plot(x, fit, color=red, linewidth=2, zorder=3, label="fit")
    figure.legend(loc="outside right upper")
    axes.set(xlabel="$x$", ylabel="$f(x)$")
    axes.set_title(f"{title}\n{describe_errors(truth, fit)}".strip())
    return figure


@styled
def plot_heat_maps(axis: Tensor, truth: Tensor, fit: Tensor, title: str = "") -> Figure:
    """Plots truth, fit and error (R, R) over a square; rows are the first variable."""
    error = fit - truth
    low, high = min(truth.min(), fit.min()).item(), max(truth.max(), fit.max()).item()
    limit = error.abs().max().item() or 1.0
    x = axis[0].numpy()
    figure, panels = new_figure(12.4, 4.4, 1, 3)
    for axes, name, values, cmap, bottom, top in (
        (panels[0], "truth", truth, "viridis", low, high),
        (panels[1], "fit", fit, "viridis", low, high),
        (panels[2], "fit \N{MINUS SIGN} truth", error, "RdBu_r", -limit, limit),
    ):
        shading = {"shading": "nearest", "cmap": cmap, "vmin": bottom, "vmax": top}
        figure.colorbar(axes.pcolormesh(x, x, values.T.numpy(), **shading), ax=axes)
        axes.set(xlabel="$x_1$", ylabel="$x_2$", title=name, aspect="equal")
    figure.suptitle(f"{title}\n{describe_errors(truth, fit)}".strip())
    return figure

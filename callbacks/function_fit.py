"""Figures and errors of a network that approximates a function."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from callbacks.console import say
from callbacks.drawing import data_of, publish
from callbacks.figures import figures_folder
from callbacks.results import record
from models.base import eval_mode
from models.regressor import FunctionMLP

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class FunctionFit(Callback):
    """Draws `function_fit.png` after training: truth, data and fit of one or two variables.

    `validate` and `test` print the errors.
    """

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._print(trainer, pl_module, "val", "Validation")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._print(trainer, pl_module, "test", "Test")

    def _print(self, trainer: Trainer, model: LightningModule, stage: str, title: str) -> None:
        if isinstance(model, FunctionMLP):
            found = {k: float(v) for k, v in trainer.callback_metrics.items() if stage in k}
            say(trainer, "\n".join([title, *(f"  {k}  {v:.4g}" for k, v in found.items())]))
            record(trainer, stage, {"scores": {k.split("/")[-1]: v for k, v in found.items()}})

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = data_of(trainer)
        if not isinstance(pl_module, FunctionMLP) or data is None or data.splits is None:
            return
        points, truth = data.splits.test
        if points.shape[1] > 2:
            return
        with eval_mode(pl_module), torch.no_grad():  # On every rank: weights may be sharded.
            fit = pl_module(points.to(pl_module.device)).view_as(truth).float().cpu()
        if (folder := figures_folder(trainer)) is None:
            return
        if points.shape[1] == 1:
            figure = draw_curve(points[:, 0], truth[:, 0], fit[:, 0], *data.splits.train)
        else:
            side = len(points[:, 0].unique())
            figure = draw_heat_maps(*(v.view(side, side) for v in (points[:, 1], truth, fit)))
        publish(trainer, folder, "function_fit", figure)


def _errors(truth: Tensor, fit: Tensor) -> str:
    error = (fit - truth).double()
    rms = error.square().mean().sqrt()
    return f"largest error {error.abs().max():.3g}, root mean square {rms:.3g}"


def draw_curve(x: Tensor, truth: Tensor, fit: Tensor, inputs: Tensor, targets: Tensor) -> "Figure":
    """Draws truth and fit (N,) at x (N,), and the training data: inputs and targets (M, 1)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained", dpi=110)
    axes = figure.subplots()
    label = f"data ({len(inputs):,} points)"
    axes.plot(inputs.numpy(), targets.numpy(), ".", color="0.75", markersize=4, label=label)
    axes.plot(x.numpy(), truth.numpy(), color="black", linewidth=3.5, alpha=0.35, label="truth")
    axes.plot(x.numpy(), fit.numpy(), color="tab:red", linewidth=1.5, label="fit")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set(xlabel="$x$", ylabel="$f(x)$")
    axes.set_title(_errors(truth, fit), fontsize=11)
    return figure


def draw_heat_maps(axis: Tensor, truth: Tensor, fit: Tensor) -> "Figure":
    """Draws truth, fit and error (R, R) over a square; rows are the first variable.

    Args:
        axis: (R, R); each row contains the R values along a side.
        truth: Values of the function.
        fit: Values of the network.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.7), layout="constrained", dpi=100)
    error = fit - truth
    low, high = min(truth.min(), fit.min()).item(), max(truth.max(), fit.max()).item()
    limit = error.abs().max().item() or 1.0
    panels = [
        ("truth", truth, {"cmap": "viridis", "vmin": low, "vmax": high}),
        ("fit", fit, {"cmap": "viridis", "vmin": low, "vmax": high}),
        ("fit \N{MINUS SIGN} truth", error, {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}),
    ]
    side = axis[0].numpy()
    for axes, (name, values, colours) in zip(figure.subplots(1, 3), panels, strict=True):
        shown = axes.pcolormesh(side, side, values.T.numpy(), shading="nearest", **colours)
        figure.colorbar(shown, ax=axes)
        axes.set(xlabel="$x_1$", ylabel="$x_2$", title=name, aspect="equal")
    figure.suptitle(_errors(truth, fit), fontsize=11)
    return figure


def draw_error_against_width(widths: Sequence[int], errors: Sequence[float]) -> "Figure":
    """Draws the sup-norm error of fits against their number N of hidden units, on log scales.

    Args:
        widths: Hidden units of each fit. A width may occur several times, for several seeds.
        errors: Largest absolute error of each fit. A line connects the medians of the widths.
    """
    import pandas as pd
    from matplotlib.figure import Figure
    from matplotlib.ticker import FormatStrFormatter, LogLocator

    medians = pd.Series(errors).groupby(list(widths)).median()
    figure = Figure(figsize=(5.6, 4), layout="constrained", dpi=110)
    axes = figure.subplots()
    axes.loglog(widths, errors, "o", color="tab:red", alpha=0.5)
    axes.loglog(medians.index, medians, color="tab:red", label="median")
    axes.legend(frameon=False)
    axes.set_xticks(medians.index, [f"{width:,}" for width in medians.index])
    axes.minorticks_off()
    if max(errors) < 100 * min(errors):  # Few powers of ten: label more values.
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set(xlabel="hidden units $N$", ylabel=r"$\max_x |F(x) - f(x)|$")
    axes.set_title("Universal approximation: error against width", fontsize=11)
    return figure

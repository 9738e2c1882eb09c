"""Figures and errors of a network that approximates a function."""

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from matplotlib.figure import Figure
from torch import Tensor

from callbacks.figures import figures_folder, new_figure, publish, styled
from callbacks.results import data_of, record, say
from models.base import eval_mode
from models.regressor import FunctionMLP

WORDS = {"loss": "mean squared error", "sup_error": "largest error"}


class FunctionFit(Callback):
    """Prints the errors, and draws `function_fit.png` of one or two variables after training."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING or not isinstance(pl_module, FunctionMLP):
            return
        stage, title = ("test", "Test") if trainer.testing else ("val", "Validation")
        found = trainer.callback_metrics.items()
        scores = {k.split("/")[-1]: float(v) for k, v in found if stage in k}
        width = max(len(WORDS.get(name, name)) for name in scores)
        rows = [f"  {WORDS.get(k, k):<{width}}  {v:.4g}" for k, v in scores.items()]
        say(trainer, "\n".join([title, *rows]))
        record(trainer, stage, {"scores": scores})

    on_test_end = on_validation_end

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = data_of(trainer)
        if not isinstance(pl_module, FunctionMLP) or data is None or data.splits is None:
            return
        points, truth = data.splits.test
        with eval_mode(pl_module), torch.no_grad():  # On every rank: weights may be sharded.
            fit = pl_module(points.to(pl_module.device)).view_as(truth).float().cpu()
        say(trainer, f"Fit at {len(points):,} points: {_errors(truth, fit)}.")
        if points.shape[1] > 2:
            return
        if (folder := figures_folder(trainer)) is None:
            return
        if points.shape[1] == 1:
            figure = draw_curve(points[:, 0], truth[:, 0], fit[:, 0], *data.splits.train)
        else:
            side = len(points[:, 0].unique())
            figure = draw_heat_maps(*(v.view(side, side) for v in (points[:, 1], truth, fit)))
        publish(trainer, folder, "function_fit", figure, vector=points.shape[1] == 1)


def _errors(truth: Tensor, fit: Tensor) -> str:
    error = (fit - truth).double()
    rms = error.square().mean().sqrt()
    return f"largest error {error.abs().max():.3g}, root mean square {rms:.3g}"


@styled
def draw_curve(x: Tensor, truth: Tensor, fit: Tensor, inputs: Tensor, targets: Tensor) -> Figure:
    """Draws truth and fit (N,) at x (N,), and the training data: inputs and targets (M, 1)."""
    figure, axes = new_figure(7.2, 5.2)
    label = f"data ({len(inputs):,} points)"
    axes.plot(inputs, targets, ".", color="0.75", markersize=4, label=label)
    axes.plot(x, truth, color="black", linewidth=3.5, alpha=0.35, label="truth")
    axes.plot(x, fit, color="C3", linewidth=2, label="fit")
    axes.legend(frameon=False)
    axes.set(xlabel="$x$", ylabel="$f(x)$")
    axes.set_title(_errors(truth, fit))
    return figure


@styled
def draw_heat_maps(axis: Tensor, truth: Tensor, fit: Tensor) -> Figure:
    """Draws truth, fit and error (R, R) over a square; rows are the first variable."""
    error = fit - truth
    low, high = min(truth.min(), fit.min()).item(), max(truth.max(), fit.max()).item()
    limit = error.abs().max().item() or 1.0
    x = axis[0].numpy()
    figure, panels = new_figure(15, 5, 1, 3)
    for axes, title, values, cmap, bottom, top in (
        (panels[0], "truth", truth, "viridis", low, high),
        (panels[1], "fit", fit, "viridis", low, high),
        (panels[2], "fit \N{MINUS SIGN} truth", error, "RdBu_r", -limit, limit),
    ):
        shading = {"shading": "nearest", "cmap": cmap, "vmin": bottom, "vmax": top}
        figure.colorbar(axes.pcolormesh(x, x, values.T.numpy(), **shading), ax=axes)
        axes.set(xlabel="$x_1$", ylabel="$x_2$", title=title, aspect="equal")
    figure.suptitle(_errors(truth, fit))
    return figure

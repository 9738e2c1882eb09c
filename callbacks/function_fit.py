"""Figures and errors of a network that approximates a function."""

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from matplotlib.figure import Figure
from torch import Tensor, nn

from callbacks.results import data_of, record, say
from figures.pictures import figures_folder, new_figure, publish, styled
from figures.style import colours
from models.base import eval_mode
from models.networks import FeedForward
from models.regressor import is_regressor

WORDS = {"loss": "mean squared error", "sup_error": "largest error"}


class FunctionFit(Callback):
    """Prints the errors, and draws `function_fit.png` of one or two variables after training."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING or not is_regressor(pl_module):
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
        if not is_regressor(pl_module) or data is None or data.splits is None:
            return
        points, truth = data.splits.test
        with eval_mode(pl_module), torch.no_grad():  # On every rank: weights may be sharded.
            fit = pl_module(points.to(pl_module.device)).view_as(truth).float().cpu()
        say(trainer, f"Fit at {len(points):,} points: {_errors(truth, fit)}.")
        if points.shape[1] > 2:
            return
        if (folder := figures_folder(trainer)) is None:
            return
        title = fit_title(data.title, pl_module.network)
        if points.shape[1] == 1:
            figure = draw_curve(points[:, 0], truth[:, 0], fit[:, 0], *data.splits.train, title)
        else:
            side = len(points[:, 0].unique())
            axis, truth, fit = (v.view(side, side) for v in (points[:, 1], truth, fit))
            figure = draw_heat_maps(axis, truth, fit, title)
        publish(trainer, folder, "function_fit", figure, vector=points.shape[1] == 1)


def fit_title(function: str, network: nn.Module) -> str:
    """Returns the function and, of a `FeedForward` network, the units of its hidden layers."""
    if not isinstance(network, FeedForward):
        return function
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    units = " + ".join(str(layer.out_features) for layer in layers[:-1]) or "no"
    return f"{function}, {units} hidden unit{'s' * (units != '1')}".removeprefix(", ")


def _errors(truth: Tensor, fit: Tensor, title: str = "") -> str:
    error = (fit - truth).double()
    rms = error.square().mean().sqrt()
    errors = f"largest error {error.abs().max():.3g}, root mean square {rms:.3g}"
    return f"{title}\n{errors}" if title else errors


@styled
def draw_curve(
    x: Tensor, truth: Tensor, fit: Tensor, inputs: Tensor, targets: Tensor, title: str = ""
) -> Figure:
    """Draws truth and fit (N,) at x (N,), and the training data: inputs and targets (M, 1)."""
    figure, axes = new_figure(9.6, 5.2)
    axes.plot(x, truth, color="black", linewidth=8, alpha=0.2, label="truth")
    blue, red = colours()[0], colours()[3]
    size, label = 5 if len(inputs) < 300 else 3, f"data ({len(inputs):,} points)"
    axes.plot(inputs, targets, "o", color=blue, markersize=size, zorder=2.5, label=label)
    axes.plot(x, fit, color=red, linewidth=2, zorder=3, label="fit")
    figure.legend(loc="outside right upper")
    axes.set(xlabel="$x$", ylabel="$f(x)$")
    axes.set_title(_errors(truth, fit, title))
    return figure


@styled
def draw_heat_maps(axis: Tensor, truth: Tensor, fit: Tensor, title: str = "") -> Figure:
    """Draws truth, fit and error (R, R) over a square; rows are the first variable."""
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
    figure.suptitle(_errors(truth, fit, title))
    return figure

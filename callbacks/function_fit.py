"""Figures of what a model of one or two numbers has learned, after training."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from torch import Tensor, nn

from callbacks.recording import datamodule_of, rank_zero_print
from datamodules.data_module import DataModule
from figures.functions import describe_errors, plot_curve, plot_heat_maps, plot_surface
from figures.pictures import publish
from models.base import eval_mode
from models.classifier import Classifier
from models.regressor import FunctionMLP

SURFACE_MARGIN, RESOLUTION = 0.5, 201  # of a surface: beyond the points, and points along each axis


def plot_function(trainer: Trainer, model: Any, folder: Path | None) -> None:
    """Plots, after training, the function that a model of one or two numbers computes.

    `decision_surface.png` is for two inputs and two classes (the gates), `function_fit.png` for a
    regressor, whose errors it also prints. Call it on every rank, because weights may be sharded.
    """
    data = datamodule_of(trainer)
    if data is None or data.splits is None:
        return
    points, targets = data.splits.test
    if isinstance(model, FunctionMLP):
        _plot_fit(trainer, model, data, folder, points, targets)
    elif isinstance(model, Classifier) and model.num_classes == 2 and data.input_shape == (2,):
        low, high = points.min().item() - SURFACE_MARGIN, points.max().item() + SURFACE_MARGIN
        axis = torch.linspace(low, high, RESOLUTION)
        surface = probability_surface(model, axis)
        if folder is not None:
            plot = partial(plot_surface, axis, surface, points, targets, data.title)
            publish(trainer, folder, "decision_surface", plot)


def _plot_fit(
    trainer: Trainer,
    model: Any,
    data: DataModule,
    folder: Path | None,
    points: Tensor,
    truth: Tensor,
) -> None:
    with eval_mode(model), torch.no_grad():
        fit = model(points.to(model.device)).view_as(truth).float().cpu()
    rank_zero_print(trainer, f"Fit at {len(points):,} points: {describe_errors(truth, fit)}.")
    if folder is None or points.shape[1] > 2:
        return
    title, one = fit_title(data.title, model), points.shape[1] == 1
    if one:
        assert data.splits is not None
        plot = partial(plot_curve, points[:, 0], truth[:, 0], fit[:, 0], *data.splits.train, title)
    else:
        side = len(points[:, 0].unique())
        axis, truth, fit = (x.view(side, side) for x in (points[:, 1], truth, fit))
        plot = partial(plot_heat_maps, axis, truth, fit, title)
    publish(trainer, folder, "function_fit", plot, vector=one)


@torch.no_grad()
def probability_surface(model: Any, axis: Tensor) -> Tensor:
    """Computes P(class 1) at all pairs of values on `axis` (R,); rows are the second input."""
    second, first = torch.meshgrid(axis, axis, indexing="ij")
    points = torch.stack([first, second], dim=-1).view(-1, 2).to(model.device)
    with eval_mode(model):
        probabilities = model.probabilities(points)
    return probabilities[:, 1].view(len(axis), -1).cpu()


def fit_title(function: str, model: nn.Module) -> str:
    """Returns the function and the units of the model's hidden layers."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    units = " + ".join(str(layer.out_features) for layer in layers[:-1]) or "no"
    return f"{function}, {units} hidden unit{'s' * (units != '1')}".removeprefix(", ")

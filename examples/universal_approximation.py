"""Plots the error of one hidden layer against its number of units: docs/pictures/approximation.png.

    python -m examples.universal_approximation [--function "abs(x)"] [--out FILE]

Each network is fitted until it no longer improves (Levenberg-Marquardt in float64). Therefore, the
figure shows the capacity of N units, not the progress of an optimizer.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from datamodules import Functions
from figures.pictures import new_figure
from figures.style import colors, styled, write_figure
from models.networks import OneHiddenLayer

WIDTHS = (2, 4, 8, 16, 32, 64, 128, 256)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--function", default="abs(x)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/approximation.png"))
    options = parser.parse_args()

    data = Functions(function=options.function, num_train=1024)
    data.setup()
    assert data.splits is not None
    train, _, test = data.splits
    errors: list[float] = []
    for width in WIDTHS:
        found = [approximation_error(width, train, test, seed=i) for i in range(options.seeds)]
        errors += found
        listed = ", ".join(f"{error:.4f}" for error in found)
        print(f"N = {width:3}: largest errors of {options.seeds} seeds: {listed}", flush=True)
    widths = [width for width in WIDTHS for _ in range(options.seeds)]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    figure = plot_error_against_width(widths, errors, options.function)
    write_figure(options.out, figure)
    print(f"Drawn: {options.out}")


@styled
def plot_error_against_width(
    widths: Sequence[int], errors: Sequence[float], function: str = "f(x)"
) -> Figure:
    """Plots the sup-norm error of fits against their number N of hidden units, on log scales.

    Args:
        widths: Hidden units of each fit. A width may occur several times, for several seeds.
        errors: Largest absolute error of each fit. A line connects the medians of the widths.
        function: The formula of the function that is approximated.
    """
    medians = pd.Series(errors).groupby(list(widths)).median()
    figure, axes = new_figure(8, 5)
    color = colors()[0]
    axes.loglog(widths, errors, "o", color=color, alpha=0.5, label="one training run")
    axes.loglog(medians.index, medians, color=color, label="median of the runs")
    axes.legend()
    axes.set_xticks(medians.index, [f"{width:,}" for width in medians.index])
    axes.minorticks_off()
    if max(errors) < 1000 * min(errors):  # few powers of ten: label more values
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.grid(axis="y", alpha=0.3)
    axes.set(xlabel="hidden units", ylabel="largest error")
    axes.set_title(f"Approximation of {function} by one hidden layer")
    return figure


def approximation_error(
    hidden_units: int,
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    activation: str = "sigmoid",
    steps: int = 40,
    restarts: int = 2,
    seed: int = 0,
) -> float:
    """Returns the largest error on `test` of `FunctionMLP`'s network, fitted to `train` in float64.

    Of a few random starts the one with the lowest error on `train` counts. The state of the global
    random generator does not change. A thousand points and 256 units take about five seconds.

    Args:
        hidden_units: The number N of hidden units.
        train: Points (M, m) in [-pi, pi]^m and values (M, 1).
        test: Points (M, m) and values (M, 1).
        activation: See `models.networks.activation_layer`.
        steps: Largest number of steps of `levenberg_marquardt`.
        restarts: Number of random starts.
        seed: Seed of the starts.
    """
    (points, values), (test_points, test_values) = ([t.double() for t in s] for s in (train, test))
    best: tuple[float, float] | None = None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _ in range(restarts):
            network = OneHiddenLayer((points.shape[1],), 1, hidden_units, activation).double()
            loss = levenberg_marquardt(network, points, values, steps)
            with torch.no_grad():
                error = (network(test_points) - test_values).abs().max().item()
            best = min(best or (loss, error), (loss, error))
    assert best is not None
    return best[1]


def levenberg_marquardt(network: nn.Module, points: Tensor, values: Tensor, steps: int) -> float:
    """Fits a small network to values (M, 1) at points (M, m); returns the mean squared error.

    Each step solves (J'J + mu I) d = J'r for the residuals' Jacobian J; mu falls if the step
    helps and rises otherwise (Hagan and Menhaj 1994, "Training feedforward networks with the
    Marquardt algorithm"). Far more exact than first-order methods, at a cost cubic in the number
    of parameters.
    """
    parameters = {name: p.detach() for name, p in network.named_parameters()}
    sizes = [p.numel() for p in parameters.values()]

    def output(vector: Tensor, inputs: Tensor) -> Tensor:
        parts = zip(parameters.items(), vector.split(sizes), strict=True)
        return functional_call(
            network, {name: part.view_as(p) for (name, p), part in parts}, (inputs,)
        )

    jacobian = vmap(jacrev(lambda vector, point: output(vector, point[None])[0, 0]), (None, 0))
    with torch.no_grad():
        vector = parameters_to_vector(network.parameters())
        residual = (output(vector, points) - values)[:, 0]
        damping, identity = 1e-2, torch.eye(len(vector), dtype=vector.dtype)
        for _ in range(steps):
            slopes = jacobian(vector, points)  # (M, parameters)
            normal, gradient = slopes.T @ slopes, slopes.T @ residual
            while damping < 1e12:
                candidate = vector - torch.linalg.solve(normal + damping * identity, gradient)
                new = (output(candidate, points) - values)[:, 0]
                if new @ new < residual @ residual:
                    vector, residual = candidate, new
                    damping = max(damping / 10, 1e-14)
                    break
                damping *= 10
            else:
                break  # no direction helps any more
        vector_to_parameters(vector, network.parameters())
        return (residual @ residual / len(residual)).item()


if __name__ == "__main__":
    main()

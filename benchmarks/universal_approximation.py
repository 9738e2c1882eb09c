"""Draws the error of one hidden layer against its number of units: docs/pictures/approximation.png.

    python -m benchmarks.universal_approximation [--function "abs(x)"] [--out FILE]

Each network is fitted until it no longer improves (Levenberg-Marquardt in float64). Therefore, the
figure shows the capacity of N units, not the progress of an optimizer.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator

from benchmarks.approximation import approximation_error
from datamodules import Functions
from figures.pictures import new_figure
from figures.style import colours, styled, write_figure

WIDTHS = (2, 4, 8, 16, 32, 64, 128, 256)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--function", default="abs(x)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/approximation.png"))
    options = parser.parse_args()

    data = Functions(function=options.function, num_train=1024, sampling="grid")
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
    figure = draw_error_against_width(widths, errors, options.function)
    write_figure(options.out, figure)
    print(f"Drawn: {options.out}")


@styled
def draw_error_against_width(
    widths: Sequence[int], errors: Sequence[float], function: str = "f(x)"
) -> Figure:
    """Draws the sup-norm error of fits against their number N of hidden units, on log scales.

    Args:
        widths: Hidden units of each fit. A width may occur several times, for several seeds.
        errors: Largest absolute error of each fit. A line connects the medians of the widths.
        function: The formula of the function that is approximated.
    """
    medians = pd.Series(errors).groupby(list(widths)).median()
    figure, axes = new_figure(8, 5)
    colour = colours()[0]
    axes.loglog(widths, errors, "o", color=colour, alpha=0.5, label="one training run")
    axes.loglog(medians.index, medians, color=colour, label="median of the runs")
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


if __name__ == "__main__":
    main()

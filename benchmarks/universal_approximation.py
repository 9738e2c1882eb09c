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
from runtime.files import write

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
    write(options.out, draw_error_against_width(widths, errors).savefig)
    print(f"Drawn: {options.out}")


def draw_error_against_width(widths: Sequence[int], errors: Sequence[float]) -> Figure:
    """Draws the sup-norm error of fits against their number N of hidden units, on log scales.

    Args:
        widths: Hidden units of each fit. A width may occur several times, for several seeds.
        errors: Largest absolute error of each fit. A line connects the medians of the widths.
    """
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


if __name__ == "__main__":
    main()

"""Draws the error of one hidden layer against its number of units: docs/pictures/approximation.png.

    python -m benchmarks.universal_approximation [--function "abs(x)"] [--out FILE]

Each network is fitted until it no longer improves (Levenberg-Marquardt in float64). Therefore, the
figure shows the capacity of N units, not the progress of an optimizer.
"""

import argparse
from pathlib import Path

from benchmarks.approximation import approximation_error
from callbacks.function_fit import draw_error_against_width
from datamodules import Functions
from runtime.files import write

WIDTHS = (2, 4, 8, 16, 32, 64, 128, 256)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--function", default="abs(x)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("docs/pictures/approximation.png"))
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
    write(options.out, draw_error_against_width(widths, errors).savefig)
    print(f"Drawn: {options.out}")


if __name__ == "__main__":
    main()

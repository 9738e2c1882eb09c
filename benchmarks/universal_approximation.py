"""Draws the error of one hidden layer against its number of units: docs/pictures/approximation.png.

    python benchmarks/universal_approximation.py [--function "abs(x)"] [--out FILE]

Each network is fitted until nothing is left to gain (Levenberg-Marquardt in float64), so that the
picture shows what N units can do, not what an optimizer reaches in some epochs.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from callbacks.function_fit import draw_error_against_width
from datamodules import Functions
from models.approximation import approximation_error
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
    widths, errors = [], []
    for width in WIDTHS:
        for seed in range(options.seeds):
            error = approximation_error(
                width, tuple(data.splits.train), tuple(data.splits.test), seed=seed
            )
            widths.append(width)
            errors.append(error)
        found = ", ".join(f"{error:.4f}" for error in errors[-options.seeds :])
        print(f"N = {width:3}: largest errors of {options.seeds} seeds: {found}", flush=True)
    write(options.out, draw_error_against_width(widths, errors).savefig)
    print(f"Drawn: {options.out}")


if __name__ == "__main__":
    main()

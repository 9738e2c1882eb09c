"""`python cli.py compare RUN RUN ...`: the quality of several runs side by side."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch.utilities.exceptions import MisconfigurationException

from callbacks.figures import output_folder
from callbacks.results import FILE
from runtime.files import read_json, write

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


def compare(args: Sequence[str]) -> None:
    """Prints a table of the runs' scores, and writes `comparison.csv` and `comparison.png`.

    Raises:
        MisconfigurationException: A run has no results yet, or the folder cannot be written to.
    """
    parser = argparse.ArgumentParser(prog="cli.py compare", description=compare.__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="folders that `test` has been run on")
    parser.add_argument("--stage", choices=["test", "val"], default="test")
    parser.add_argument("--out", type=Path, default=Path("."), help="folder to write to")
    options = parser.parse_args(args)

    table = tabulate({str(run): scores_of(run, options.stage) for run in options.runs})
    print(table.T.to_string(float_format="{:.4g}".format, na_rep="-"))
    folder = output_folder(options.out)
    write(folder / "comparison.csv", lambda file: table.to_csv(file))
    write(folder / "comparison.png", draw(table).savefig)
    print(f"Wrote {options.out / 'comparison.csv'}, {options.out / 'comparison.png'}")


def scores_of(run: Path, stage: str) -> dict[str, Any]:
    """The scores, and the floors of those that have one, that a run's `metrics.json` holds."""
    found = read_json(run / FILE).get(stage)
    if not found:
        command = "validate" if stage == "val" else stage
        raise MisconfigurationException(
            f"{run} holds no results of {command}: run `python cli.py {command} --ckpt_path {run}`"
        )
    floors = {f"{name} (floor)": value for name, value in found.get("floor", {}).items()}
    return {**found["scores"], **floors}


def tabulate(scores: dict[str, dict[str, Any]]) -> "DataFrame":
    """One row a run, one column a score; each floor stands behind its score."""
    import pandas as pd

    table = pd.DataFrame.from_dict(scores, orient="index").astype(float)
    names = [name for name in table.columns if not name.endswith(" (floor)")]
    order = [column for name in names for column in (name, f"{name} (floor)")]
    return table[[column for column in order if column in table.columns]].rename_axis("run")


def draw(table: "DataFrame") -> "Figure":
    """A panel for each score, a bar for each run, a line at each run's floor."""
    from matplotlib.figure import Figure

    names = [name for name in table.columns if not name.endswith(" (floor)")]
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    height = rows * (0.9 + 0.28 * len(table))
    figure = Figure(figsize=(3.2 * columns, height), layout="constrained", dpi=110)
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    places = range(len(table))
    for panel, name in zip(axes, names, strict=False):
        panel.barh(places, table[name], color="tab:blue", alpha=0.75)
        if f"{name} (floor)" in table:
            panel.plot(table[f"{name} (floor)"], places, "k|", markersize=14, label="floor")
        panel.set_title(name.replace("_", " "), fontsize=10)
        panel.set_yticks(places, table.index if panel in axes[::columns] else [""] * len(table))
        panel.invert_yaxis()
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in axes[len(names) :]:
        panel.set_visible(False)
    if any(name.endswith(" (floor)") for name in table.columns):
        figure.supxlabel("| real training images in place of generated ones", fontsize=9)
    return figure

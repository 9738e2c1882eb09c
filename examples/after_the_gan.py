"""Compares runs that draw images: their table, ten samples of each class, a flow's evaluations.

    python -m examples.after_the_gan runs/vae runs/cgan runs/flow runs/drift [--out FOLDER]

The scores are those of `test`, which has to be run before. For docs/after-the-gan.md.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

import ladder
from commands.sample import as_tensor
from figures.pictures import new_figure, tile, write_png
from figures.style import styled, write_figure
from results import Run

SCORES = ("frechet", "precision", "recall", "label_accuracy", "gan_train", "memorization")
DRAWN = {"frechet": "Frechet distance", "precision": "precision", "recall": "recall"}
SOLVERS = [("euler", steps) for steps in (1, 2, 4, 8, 16, 32)]
SOLVERS += [("heun", steps) for steps in (2, 4, 8, 16)]
SCORED = 2000  # images for each
OF_A_CLASS, GAP = 10, 6  # samples in a row; pixels between two models
TIMED = 500  # images


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("runs", nargs="+", help="folders of runs, in the order of the columns")
    parser.add_argument("--out", type=Path, default=Path("runs/after_the_gan"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    models = {run: ladder.load(run) for run in options.runs}
    rows = pd.DataFrame({run: facts(run, model) for run, model in models.items()}).T
    print(rows.to_string(float_format="{:.4g}".format))
    write_png(options.out / "samples.png", side_by_side([*models.values()]))
    for run, model in models.items():
        if model.steps is not None:
            found = by_evaluations(run, model)
            print(found.to_string(float_format="{:.4g}".format))
            write_figure(options.out / "evaluations.png", plot_evaluations(found))
    print(f"Drawn: {options.out}")


def facts(run: str, model: Any) -> dict[str, Any]:
    """Returns a run's scores of `test`, and what its samples cost."""
    tested = Run.find(run).scores(["test"])
    weights = sum(values.numel() for values in model.eval_network.parameters())
    calls, milliseconds = cost(model)
    costs = {"weights": weights, "evaluations": calls, "ms an image": milliseconds}
    return costs | {name: tested.get(f"test/{name}") for name in SCORES}


def cost(model: Any) -> tuple[int, float]:
    """Returns the evaluations of the network and the milliseconds that an image takes."""
    calls: list[int] = []
    hook = model.eval_network.register_forward_hook(lambda *_: calls.append(1))
    start = time.process_time()
    ladder.sample_images(model, TIMED)
    hook.remove()
    return len(calls), 1000 * (time.process_time() - start) / TIMED


def side_by_side(models: Sequence[Any]) -> Tensor:
    """Returns a picture with a row for each class, ten samples of each model in it."""
    grids = []
    for model in models:
        classes = range(model.num_classes)
        drawn = ladder.sample_images(model, OF_A_CLASS * len(classes), [*classes])
        order = torch.from_numpy(drawn.labels).argsort(stable=True)
        grids.append(tile(as_tensor(drawn.images)[order].float() / 255, OF_A_CLASS, 1, 1))
    blank = torch.ones(*grids[0].shape[:2], GAP)
    parts = [part for grid in grids for part in (grid, blank)][:-1]
    return torch.cat(parts, dim=2)


def by_evaluations(run: str, model: Any) -> pd.DataFrame:
    """Scores a flow on validation data with both solvers, and ever more steps."""
    found = []
    for solver, steps in SOLVERS:
        model.solver, model.steps = solver, steps
        options = {"model.solver": solver, "model.steps": steps, "quality.final_samples": SCORED}
        scores = ladder.score(run, options=options)["score"]
        found.append({"solver": solver, "evaluations": cost(model)[0], **scores[list(SCORES[:3])]})
    return pd.DataFrame(found)


@styled
def plot_evaluations(scores: pd.DataFrame) -> Figure:
    """Plots scores against the number of evaluations, a panel for each score."""
    figure, row = new_figure(11, 3.5, 1, 3)
    ticks = [2**k for k in range(7)]
    for axes, (name, title) in zip(row, DRAWN.items(), strict=True):
        for solver, found in scores.groupby("solver"):
            axes.plot(found["evaluations"], found[name], "o-", label=solver)
        axes.set_xscale("log", base=2)
        axes.set_xticks(ticks, map(str, ticks))
        axes.set(title=title, xlabel="evaluations of the network")
    row[0].set_yscale("log")
    row[0].legend()
    return figure


if __name__ == "__main__":
    main()

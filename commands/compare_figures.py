"""The picture of `compare`: a bar for each score of each run."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from commands.compare import Run

COLUMNS = 4
PANEL, BAR, LETTER = 3.6, 0.4, 0.115  # width of a panel, height of a bar, width of a letter, inch
STYLE = Path(__file__).parent.parent / "callbacks/style.mplstyle"  # that room's code is heavy


def draw(runs: "Sequence[Run]", scores: Sequence[str]) -> "Figure":
    """Draws a panel for each score, with a bar for each run and a tick at its floor."""
    from matplotlib import rc_context

    with rc_context(fname=STYLE):
        return _drawn(runs, scores)


def _drawn(runs: "Sequence[Run]", scores: Sequence[str]) -> "Figure":
    from matplotlib.figure import Figure

    columns = min(COLUMNS, len(scores))
    rows = -(-len(scores) // columns)
    names = [run.name for run in runs]
    size = (LETTER * max(map(len, names)) + PANEL * columns, rows * (1.4 + BAR * len(runs)))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True).flatten()
    for panel, score in zip(axes, scores, strict=False):
        values = _column([run.scores.get(score) for run in runs])
        panel.barh(names, values, alpha=0.75)
        panel.plot(_column([run.floors.get(score) for run in runs]), names, "k|", markersize=14)
        panel.set_title(score.replace("_", " "))
        panel.locator_params(axis="x", nbins=4)
    axes[0].invert_yaxis()
    for panel in axes[len(scores) :]:
        panel.set_visible(False)
    if any(run.floors for run in runs):
        figure.supxlabel("black line: real images instead of generated ones", fontsize=12)
    return figure


def _column(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]

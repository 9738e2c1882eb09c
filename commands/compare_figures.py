"""The picture of `compare`: a bar for each score of each run."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from commands.compare import Run

COLUMNS = 4
PANEL, GAP, MARGIN = 2.6, 0.3, 0.4  # widths, and the room above and below, in inches
BAR, LETTER = 0.28, 0.075  # the height of a bar and the width of a letter in inches


def draw(runs: "Sequence[Run]", scores: Sequence[str]) -> "Figure":
    """Draws a panel for each score, with a bar for each run and a tick at its floor.

    The layout is computed here, because matplotlib's own draws the figure twice.
    """
    from matplotlib.figure import Figure

    columns = min(COLUMNS, len(scores))
    rows = -(-len(scores) // columns)
    left = 0.2 + LETTER * max(len(run.name) for run in runs)
    width = left + columns * (PANEL + GAP)
    panel_height = 0.2 + BAR * len(runs)
    height = rows * (panel_height + 2 * MARGIN)
    figure = Figure(figsize=(width, height), dpi=110)
    axes = figure.subplots(
        rows,
        columns,
        squeeze=False,
        sharey=True,
        gridspec_kw={
            "left": left / width,
            "right": 1 - GAP / width,
            "bottom": MARGIN / height,
            "top": 1 - MARGIN / height,
            "wspace": GAP / PANEL,
            "hspace": 2 * MARGIN / panel_height,
        },
    ).flatten()
    places = range(len(runs))
    for panel, name in zip(axes, scores, strict=False):
        panel.barh(
            places, _column([run.scores.get(name) for run in runs]), color="tab:blue", alpha=0.75
        )
        floors = _column([run.floors.get(name) for run in runs])
        panel.plot(floors, places, "k|", markersize=14)
        panel.set_title(name.replace("_", " "), fontsize=10)
        panel.tick_params(labelsize=8)
        panel.locator_params(axis="x", nbins=5)
        panel.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(places, [run.name for run in runs])
    axes[0].invert_yaxis()
    for panel in axes[len(scores) :]:
        panel.set_visible(False)
    if any(run.floors for run in runs):
        text = "| floor: real training images instead of generated ones"
        figure.text(0.5, 0.02 / height, text, fontsize=8, ha="center", va="bottom")
    return figure


def _column(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]

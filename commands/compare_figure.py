"""The picture of `compare`: a panel for each score that runs share."""

import textwrap
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from commands.compare_runs import Run, better
from figures.style import styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ARROWS = {"lower": "\N{DOWNWARDS ARROW}", "higher": "\N{UPWARDS ARROW}"}
PANEL, LINE, LETTER = 2.7, 0.36, 0.115  # width of a panel, height of a run, width of a letter, inch
LEGEND = f"{ARROWS['higher']} higher is better, {ARROWS['lower']} lower is better"


def shared(runs: Sequence[Run]) -> list[str]:
    """Returns the scores that two runs have at least, without those by class."""
    scores = [name for run in runs for name, value in run.scores.items() if value is not None]
    return [n for n in dict.fromkeys(scores) if scores.count(n) > 1 and "_class_" not in n]


@styled
def draw(runs: Sequence[Run], with_mean: bool = False) -> "Figure | None":
    """Draws a panel for each shared score: a dot for each run, and the score of real images.

    Returns None if no two runs share a score. The mean of the runs is shown if asked for.
    """
    from matplotlib.figure import Figure

    scores, names = shared(runs), [run.name for run in runs]
    if not scores:
        return None
    columns = min(4, len(scores))
    rows = -(-len(scores) // columns)
    size = (LETTER * max(map(len, names)) + PANEL * columns, rows * (1.5 + LINE * len(runs)) + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True).flatten()
    for panel, score in zip(axes, scores, strict=False):
        _draw_score(panel, runs, score, with_mean)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(len(names) - 0.4, -0.6)
    for panel in axes[len(scores) :]:
        panel.set_visible(False)
    marks = [panel.get_legend_handles_labels() for panel in axes]
    legend = {text: mark for found in marks for mark, text in zip(*found, strict=True)}
    figure.supxlabel(LEGEND, fontsize=12)
    if legend:
        figure.legend(legend.values(), legend.keys(), loc="outside upper right", ncols=2)
    return figure


def _draw_score(panel: "Axes", runs: Sequence[Run], score: str, with_mean: bool) -> None:
    points = [(run.scores.get(score), place) for place, run in enumerate(runs)]
    floors = [(run.floors.get(score), place) for place, run in enumerate(runs)]
    known = [(value, place) for value, place in points if value is not None]
    real = [(value, place) for value, place in floors if value is not None]
    panel.plot(*zip(*known, strict=True), "o", markersize=8)
    if with_mean:
        mean = fmean(value for value, _ in known)
        panel.axvline(mean, linestyle="--", linewidth=1.2, label="mean of the runs")
    if real:
        style: dict[str, Any] = {"color": "black", "markersize": 14, "markeredgewidth": 2}
        panel.plot(*zip(*real, strict=True), "|", label="real images", **style)
    panel.set_title(textwrap.fill(f"{_title(score)} {ARROWS.get(better(score) or '', '')}", 26))
    panel.margins(x=0.12)
    panel.locator_params(axis="x", nbins=3)
    panel.grid(axis="y", alpha=0.4)


def _title(score: str) -> str:
    from metrics import SCORES

    stage, _, name = score.partition("/")
    title = next((found.title for found in SCORES if found.name == name), "")
    return f"{stage}: {title or name.replace('_', ' ')}"

"""The picture of `compare`: a panel for each score that runs share."""

from collections.abc import Sequence
from math import isnan
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from commands.compare import Run

PANEL, LINE, LETTER = 2.5, 0.36, 0.115  # width of a panel, height of a run, width of a letter, inch
STYLE = Path(__file__).parent.parent / "figures/style.mplstyle"  # that room's code is heavy
LOWER, HIGHER = "\N{DOWNWARDS ARROW}", "\N{UPWARDS ARROW}"
# As in `metrics.SCORES`, whose import takes seconds.
LESS = (
    "loss", "d_loss", "sup_error", "calibration_error", "frechet", "intra_frechet", "kid",
    "modes_kl",
)  # fmt: skip
MORE = (
    "accuracy", "label_accuracy", "precision", "recall", "density", "coverage", "modes",
    "memorization", "gan_train",
)  # fmt: skip
BETTER = dict.fromkeys(LESS, LOWER) | dict.fromkeys(MORE, HIGHER)


def draw(runs: "Sequence[Run]", scores: Sequence[str]) -> "Figure":
    """Draws a panel for each shared score: a dot for each run, its floor, and the runs' mean."""
    from matplotlib import rc_context

    with rc_context(fname=STYLE):
        return _drawn(runs, shared(runs, scores))


def shared(runs: "Sequence[Run]", scores: Sequence[str]) -> list[str]:
    """Returns the scores that two runs have, without accuracies by class; else all scores."""
    needed = min(2, len(runs))
    counts = {name: sum(run.scores.get(name) is not None for run in runs) for name in scores}
    found = [name for name in scores if counts[name] >= needed and "/accuracy_class" not in name]
    return found or [*scores]


def _drawn(runs: "Sequence[Run]", scores: Sequence[str]) -> "Figure":
    from matplotlib.figure import Figure

    columns = min(4 if len(scores) <= 8 else 5, len(scores))
    rows = -(-len(scores) // columns)
    names = [run.name for run in runs]
    size = (LETTER * max(map(len, names)) + PANEL * columns, rows * (1.2 + LINE * len(runs)) + 0.5)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True).flatten()
    for panel, score in zip(axes, scores, strict=False):
        _draw_score(panel, runs, score)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(len(names) - 0.4, -0.6)
    for panel in axes[len(scores) :]:
        panel.set_visible(False)
    legend = {text: mark for panel in axes for mark, text in zip(*_entries(panel), strict=True)}
    title = f"{HIGHER} higher is better, {LOWER} lower is better"
    place: dict[str, Any] = {"loc": "outside lower center", "ncols": 3}
    figure.legend(legend.values(), legend.keys(), title=title, title_fontsize=12, **place)
    return figure


def _entries(panel: "Axes") -> "tuple[list[Any], list[Any]]":
    return panel.get_legend_handles_labels()


def _draw_score(panel: "Axes", runs: "Sequence[Run]", score: str) -> None:
    places = range(len(runs))
    values = _column([run.scores.get(score) for run in runs])
    floors = _column([run.floors.get(score) for run in runs])
    panel.plot(values, places, "o", markersize=8, label="run")
    known = [value for value in values if not isnan(value)]
    if len(known) > 1:
        panel.axvline(fmean(known), linestyle="--", linewidth=1.2, label="mean of the runs")
    if not all(map(isnan, floors)):
        real: dict[str, Any] = {"color": "black", "markersize": 14, "markeredgewidth": 2}
        panel.plot(floors, places, "|", label="real images instead of generated ones", **real)
    title = score.replace("_", " ")
    panel.set_title(f"{title} {BETTER.get(score.partition('/')[2], '')}".rstrip())
    panel.margins(x=0.12)
    panel.locator_params(axis="x", nbins=3)
    panel.grid(axis="y", alpha=0.4)


def _column(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]

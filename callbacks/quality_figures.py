"""Figures of a generator's quality: scores by class, and requested against seen classes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from callbacks.drawing import percent
from callbacks.evaluation_figures import draw_counts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from metrics import QualityReport, Score


def draw_classes(
    report: "QualityReport", scores: Sequence["Score"], names: Sequence[str]
) -> "Figure":
    """Draws a panel for each score by class: a bar for each class, and a line at its floor."""
    from matplotlib.figure import Figure

    by_class = report.class_scores
    directions = {score.class_name: score.better for score in scores}
    figure = Figure(figsize=(5 * len(by_class), 3.2), layout="constrained", dpi=110)
    panels = figure.subplots(1, len(by_class), squeeze=False)[0]
    for axes, (name, values) in zip(panels, by_class.items(), strict=True):
        places = range(len(values))
        axes.bar(places, values, color="tab:blue", alpha=0.75, label="generated images")
        floor = report.class_floor.get(name, [])
        axes.plot(places[: len(floor)], floor, "k_", markersize=16, label="real images")
        axes.set_xticks(places, names, rotation=0 if max(map(len, names)) < 3 else 45)
        lowest = min([*values, *floor])
        if lowest > 0.5:  # from zero on, shares near 1 would all look alike
            axes.set_ylim(lowest - 0.3 * (1 - lowest) - 1e-3, 1)
        better = f" ({directions[name]} is better)" if directions[name] else ""
        axes.set_title(f"{name} by class{better}", fontsize=11)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=9
    )
    return figure


def draw_requested_and_seen(confusion: Tensor, names: Sequence[str]) -> "Figure":
    """Draws counts (K, K) of requested classes (rows) and the judge's classes (columns)."""
    right = percent(confusion.diagonal().sum(), confusion.sum())
    title = f"Generated images that show their class: {right}"
    return draw_counts(confusion, names, title, rows="requested", columns="seen by the judge")

"""Pictures of a generator's quality: class by class, and which class is drawn for which."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from callbacks.drawing import percent
from callbacks.evaluation_figures import draw_counts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from metrics import QualityReport


def draw_classes(report: "QualityReport", names: Sequence[str]) -> "Figure":
    """A panel for each score by class: a bar for each class, and a line at its floor."""
    from matplotlib.figure import Figure

    scores = report.class_scores
    figure = Figure(figsize=(5 * len(scores), 3.2), layout="constrained", dpi=110)
    for axes, (name, values) in zip(figure.subplots(1, len(scores)), scores.items(), strict=True):
        places = range(len(values))
        axes.bar(places, values, color="tab:blue", alpha=0.75, label="generated images")
        floor = report.class_floor[name]
        axes.plot(places, floor, "k_", markersize=16, label="real training images")
        axes.set_xticks(places, names, rotation=0 if max(map(len, names)) < 3 else 45)
        lowest = min(*values, *floor)
        if lowest > 0.5:  # shares near 1: zeros would hide what differs
            axes.set_ylim(lowest - 0.3 * (1 - lowest) - 1e-3, 1)
        axes.set_title(f"{name} by class", fontsize=11)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=9
    )
    return figure


def draw_asked_and_seen(confusion: Tensor, names: Sequence[str]) -> "Figure":
    """Counts (C, C) of the classes asked for (rows) and the judge's classes (columns)."""
    right = percent(confusion.diagonal().sum(), confusion.sum())
    title = f"Generated images that show their class: {right}"
    return draw_counts(confusion, names, title, rows="asked for", columns="seen by the judge")

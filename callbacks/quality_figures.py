"""Figure of a generator's quality: scores by class."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from callbacks.figures import new_figure
from metrics import QualityReport, Score


def draw_classes(report: QualityReport, scores: Sequence[Score], names: Sequence[str]) -> Figure:
    """Draws a panel for each score by class: a bar for each class, and a line at its floor."""
    by_class = report.class_scores
    directions = {score.class_name: score.better for score in scores}
    figure, panels = new_figure(5 * len(by_class), 3.2, 1, len(by_class), squeeze=False)
    for axes, (name, values) in zip(panels[0], by_class.items(), strict=True):
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
    legend = axes.get_legend_handles_labels()
    figure.legend(*legend, loc="outside lower center", ncols=2, fontsize=9)
    return figure

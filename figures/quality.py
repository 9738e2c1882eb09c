"""Figure of the quality of generated images, class by class."""

import math
from collections.abc import Sequence

from matplotlib.figure import Figure

from figures.curves import title_of
from figures.pictures import new_figure, styled
from metrics import QualityReport, Score


@styled
def draw_classes(report: QualityReport, scores: Sequence[Score], names: Sequence[str]) -> Figure:
    """Draws a panel for each score by class: a dot for each class, and a line at its floor."""
    by_class = report.class_scores
    directions = {score.class_name: score.better for score in scores}
    figure, panels = new_figure(max(6.5, 5.8 * len(by_class)), 4.6, 1, len(by_class), squeeze=False)
    for axes, (name, values) in zip(panels[0], by_class.items(), strict=True):
        places = range(len(values))
        floor = report.class_floor.get(name, [])
        real = {"color": "black", "markersize": 16, "markeredgewidth": 2, "label": "real images"}
        axes.plot(places[: len(floor)], floor, "_", **real)
        axes.plot(places, values, "o", markersize=8, label="generated images")
        axes.set_xticks(places, names, rotation=0 if max(map(len, names)) < 3 else 45)
        axes.margins(x=0.06, y=0.1)
        known = [value for value in (*values, *floor) if math.isfinite(value)]
        if directions[name] == "lower" and known:  # a distance, whose best value is 0
            axes.set_ylim(bottom=min(-0.05 * max(known), axes.get_ylim()[0]))
        axes.grid(axis="y", alpha=0.4)
        title = title_of(name)
        better = f"\n({directions[name]} is better)" if directions[name] else ""
        axes.set_title(f"{title} by class{better}")
        axes.set(xlabel="class", ylabel=title)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure

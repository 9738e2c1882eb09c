"""Figures of the quality of generated images: scores by class, and the worst images."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from matplotlib.figure import Figure

from figures.pictures import mosaic, new_figure, styled
from metrics import title

if TYPE_CHECKING:
    from metrics import Score
    from metrics.report import Report
    from metrics.samples import Samples

COLUMNS = 10  # of the worst images


@styled
def draw_classes(report: "Report", scores: "Sequence[Score]", names: Sequence[str]) -> Figure:
    """Draws a panel for each score by class: a dot for each class, and a line for real images."""
    shown = {score.class_name: score for score in scores if score.class_name in report.class_scores}
    figure, panels = new_figure(max(6.5, 5.8 * len(shown)), 4.6, 1, len(shown), squeeze=False)
    for axes, (name, score) in zip(panels[0], shown.items(), strict=True):
        assert name is not None
        values, real = report.class_scores[name], report.class_floor[name]
        mark = {"color": "black", "markersize": 16, "markeredgewidth": 2, "label": "real images"}
        axes.plot(range(len(real)), real, "_", **mark)
        axes.plot(range(len(values)), values, "o", markersize=8, label="generated images")
        axes.set_xticks(range(len(names)), names, rotation=0 if max(map(len, names)) < 3 else 45)
        axes.margins(x=0.06, y=0.1)
        known = [value for value in (*values, *real) if math.isfinite(value)]
        if score.better == "lower" and known:  # a distance, whose best value is 0
            axes.set_ylim(bottom=min(-0.05 * max(known), axes.get_ylim()[0]))
        axes.grid(axis="y", alpha=0.4)
        better = f"\n({score.better} is better)" if score.better else ""
        axes.set_title(f"{title(name)} by class{better}")
        axes.set(xlabel="class", ylabel=title(name))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def draw_worst(worst: "Samples", nearest: "Samples", names: Sequence[str]) -> Figure:
    """Draws generated images, each above the real one that is nearest to it.

    Titles name the classes: the one that was requested, and the one that the judge sees.

    Args:
        worst: Generated samples, the worst first, with images.
        nearest: As many real samples with images.
        names: Names of the classes.
    """
    assert worst.images is not None
    assert nearest.images is not None
    seen = [names[k] for k in worst.predicted.tolist()]
    titles = [f"seen as {name}" for name in seen]
    if worst.labels is not None:
        asked = [names[k] for k in worst.labels.tolist()]
        titles = [a if a == s else f"{a}, seen as {s}" for a, s in zip(asked, seen, strict=True)]
    classes = nearest.predicted if nearest.labels is None else nearest.labels
    below = [f"real {names[k]}" for k in classes.tolist()]
    rows, texts = [], []
    for start in range(0, len(worst), COLUMNS):
        part = slice(start, start + COLUMNS)
        rows += [worst.images[part].cpu() / 255, nearest.images[part].cpu() / 255]
        texts += titles[part] + below[part]
    heading = f"The {len(worst)} images farthest from real ones, above the nearest real ones"
    return mosaic(torch.cat(rows), texts, COLUMNS, heading, letters=11)

"""Table and figures of an evaluated classifier: confusion, worst mistakes, calibration."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from torch import Tensor

from figures.pictures import mosaic, new_figure, styled, text_width
from runtime.intervals import few, in_percent, interval_of_mean, wilson_interval

MIN_CALIBRATION_EXAMPLES = 30  # examples of a calibration: fewer do not fill its bins
BINS = 15  # as in Guo et al. 2017, and torchmetrics' default


class Mistakes(NamedTuple):
    """The mistakes with the highest probability, the worst first."""

    images: Tensor  # (M, C, H, W), or (M, 0) if inputs are not images
    targets: list[int]
    predictions: list[int]
    probabilities: list[float]  # of the predicted class


def percent(part: float | Tensor, whole: float | Tensor) -> str:
    """Formats a fraction, such as `96.67 % [83.3, 99.4] (29 of 30)`; "-" if there are none."""
    part, whole = int(part), int(whole)
    if not whole:
        return "-"
    interval = in_percent(wilson_interval(part / whole, whole))
    return f"{100 * part / whole:.2f} % {interval} ({part:,} of {whole:,})"


def mean_over_classes(counts: Tensor) -> str:
    """Formats the mean of the classes' accuracies of counts (K, K), with its interval."""
    hits, examples = counts.diagonal(), counts.sum(dim=1)
    interval = in_percent(interval_of_mean(hits, examples))
    return f"{100 * (hits / examples).nanmean():.2f} % {interval}"


def classification_report(
    loss: float, counts: Tensor, error: float, names: list[str], title: str, top: dict[int, float]
) -> str:
    """Formats loss, accuracies overall and by class, and calibration error as lines of text.

    Args:
        loss: Mean loss.
        counts: (K, K): true class, predicted class.
        error: Expected calibration error.
        names: Names of the classes.
        title: Of the table.
        top: Accuracies with the class among the k most probable ones, by k.
    """
    examples = int(counts.sum())
    rows = [("loss", f"{loss:.4f}"), ("accuracy", percent(counts.diagonal().sum(), examples))]
    rows.append(("balanced accuracy", f"{mean_over_classes(counts)}, the mean over classes"))
    rows += [(f"top-{k} accuracy", percent(round(v * examples), examples)) for k, v in top.items()]
    for k, (name, row) in enumerate(zip(names, counts, strict=True)):
        rows.append((f"class {name}" if name.isdecimal() else name, percent(row[k], row.sum())))
    width = max(len(name) for name, _ in rows)
    lines = [f"{title}, {examples:,} examples; in brackets: 95 % confidence intervals"]
    lines += [f"  {name:<{width}}  {value}" for name, value in rows]
    if examples >= MIN_CALIBRATION_EXAMPLES:
        lines.append(f"  expected calibration error {error:.4f}, in {BINS} bins")
    return "\n".join(lines + few(examples))


@styled
def plot_confusion(
    counts: Tensor,
    names: Sequence[str],
    title: str,
    rows: str = "true class",
    columns: str = "predicted class",
) -> Figure:
    """Plots counts (K, K) and fractions of the row; the title has the diagonal's fraction.

    Zeros are left out. More than ten classes have counts alone, and more than 20 colors. Their
    fractions of the diagonal are beside their names.
    """
    import seaborn as sns

    classes = len(names)
    width = min(3.6 + 0.085 * max(map(len, names)) + 0.85 * classes, 12.4)
    height = min(2 + 0.75 * classes, 6.5)
    title = f"{title} {percent(counts.diagonal().sum(), counts.sum())}"
    below = f"mean over classes {mean_over_classes(counts)}; [ ]: 95 %"
    figure, axes = new_figure(max(width, 0.115 * len(title)), max(height, 4.2))
    shares = counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
    text = "{0:,}\n{1:.1%}" if classes <= 10 else "{0:,}" if classes <= 20 else ""
    cells = [
        [text.format(count, share) if count else "" for count, share in zip(*row, strict=True)]
        for row in zip(counts.tolist(), shares.tolist(), strict=True)
    ]
    bar = {
        "label": "fraction of the row",
        "ticks": [0, 0.1, 0.25, 0.5, 0.75, 1],
        "format": "{x:.0%}",
    }
    colors = {"cmap": "Blues", "norm": PowerNorm(0.5, 0, 1), "linewidths": 0.5, "cbar_kws": bar}
    size = {"size": 13 if classes <= 6 else 10.5}
    beside = [*names]
    if classes > 10:
        rows_of = zip(names, counts.sum(dim=1), shares.diagonal(), strict=True)
        beside = [f"{name} {share:.0%}" if count else name for name, count, share in rows_of]
    labels = {"xticklabels": names, "yticklabels": beside, "fmt": "", "annot_kws": size}
    sns.heatmap(shares.numpy(), annot=np.array(cells), ax=axes, **colors, **labels)
    axes.tick_params(axis="y", rotation=0)
    axes.set(xlabel=columns, ylabel=rows)
    # Above the color bar as well, which has room for it.
    figure.suptitle(f"{title}\n{below}", fontsize=14)
    return figure


def plot_mistakes(mistakes: Mistakes, names: Sequence[str], title: str) -> Figure:
    """Plots the worst mistakes, each under `true -> predicted` and the latter's probability."""
    between = "\n" if max(map(len, names)) > 4 else " "  # two long names need two lines
    titles = [
        f"{names[true]}{between}\N{RIGHTWARDS ARROW} {names[predicted]}\np = {probability:.4f}"
        for true, predicted, probability in zip(*mistakes[1:], strict=True)
    ]
    count, columns = len(titles), max(1, int(12.4 / max(1.5, text_width(titles, 13) + 0.1)))
    heading = f"{title}: the {count} worst mistakes" if count > 1 else f"{title}: the worst mistake"
    heading += "\ntrue \N{RIGHTWARDS ARROW} predicted, p: probability of the predicted class"
    return mosaic(mistakes.images, titles, min(columns, count), heading)


@styled
def plot_reliability(confidence: Tensor, hits: Tensor, error: float, title: str) -> Figure:
    """Plots accuracy against confidence in each bin, and the number of examples in each bin.

    Guo et al. 2017, "On calibration of modern neural networks", figure 1.

    Args:
        confidence: (N,), the probability of the predicted class of each example.
        hits: (N,), 1 if that is the true class, otherwise 0.
        error: Expected calibration error.
        title: Of the figure.
    """
    counts, edges = np.histogram(confidence, BINS, (0, 1))
    right, _ = np.histogram(confidence, BINS, (0, 1), weights=hits.double())
    centers, width = edges[:-1] + 0.5 / BINS, 0.94 / BINS
    figure, (upper, lower) = new_figure(8.4, 6.5, 2, sharex=True, height_ratios=[3, 1])
    shares = right / counts.clip(1)
    upper.bar(centers, shares, width, label="share that is right")
    limits = [*map(wilson_interval, shares, counts)]
    upper.vlines(centers, *zip(*limits, strict=True), color="0.3", label="95 % interval")
    upper.plot([0, 1], [0, 1], "--", color="black", label="as it should be: the probability")
    upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy")
    upper.legend(loc="upper left")
    figure.suptitle(f"{title}: expected calibration error {error:.4f}", fontsize=14)
    bars = lower.bar(centers, counts, width, color="0.6")
    lower.bar_label(bars, [f"{count:,}" if count else "" for count in counts], fontsize=10)
    lower.set(xlabel="probability of the predicted class", ylabel="examples", yscale="symlog")
    lower.margins(y=0.3)
    return figure

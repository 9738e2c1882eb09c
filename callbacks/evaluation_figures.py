"""Table and figures of an evaluated classifier: confusion, worst mistakes, calibration."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from torch import Tensor

from callbacks.figures import mosaic, new_figure
from callbacks.results import percent
from callbacks.tally import Calibration, Evaluated, Mistakes


def table(evaluated: Evaluated, names: Sequence[str], title: str) -> str:
    """Formats loss, accuracies overall and by class, and calibration error as lines of text."""
    accuracy = percent(evaluated.hits, evaluated.examples)
    rows = [("loss", f"{evaluated.loss:.4f}"), ("accuracy", accuracy)]
    for k, (name, counts) in enumerate(zip(names, evaluated.confusion, strict=True)):
        rows.append((name, percent(counts[k], counts.sum())))
    width = max(len(name) for name, _ in rows)
    lines = [f"{title}, {evaluated.examples:,} examples"]
    lines += [f"  {name:<{width}}  {value}" for name, value in rows]
    error, bins = evaluated.calibration.error, len(evaluated.calibration.counts)
    return "\n".join([*lines, f"  expected calibration error {error:.4f}, in {bins} bins"])


def draw_confusion(
    counts: Tensor, names: list[str], title: str, rows: str = "true", columns: str = "predicted"
) -> Figure:
    """Draws counts (K, K), coloured by share of the row; adds the diagonal's share to the title."""
    import pandas as pd
    import seaborn as sns

    size = 2.2 + 0.55 * max(len(names), 4)
    figure, axes = new_figure(size + 1, size)
    shares = counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
    table = pd.DataFrame(shares.numpy(), names, names)
    bar = {"label": "share of the row", "shrink": 0.8}
    colours = {"cmap": "Blues", "vmin": 0, "vmax": 1, "linewidths": 0.5, "cbar_kws": bar}
    sns.heatmap(table, annot=counts.numpy(), fmt="d", square=True, ax=axes, **colours)
    axes.set(xlabel=columns, ylabel=rows)
    axes.set_title(f"{title} {percent(counts.diagonal().sum(), counts.sum())}", fontsize=11)
    return figure


def draw_mistakes(mistakes: Mistakes, names: Sequence[str], title: str) -> Figure:
    """Draws the worst mistakes, each under `true -> predicted` and the latter's probability."""
    titles = [
        f"{names[true]} \N{RIGHTWARDS ARROW} {names[predicted]}\n{probability:.4f}"
        for true, predicted, probability in zip(*mistakes[1:], strict=True)
    ]
    count = len(titles)
    heading = f"{title}: the {count} worst mistakes" if count > 1 else f"{title}: the worst mistake"
    heading += ", true \N{RIGHTWARDS ARROW} predicted"
    return mosaic(mistakes.images, titles, min(8, count), heading)


def draw_reliability(calibration: Calibration, title: str) -> Figure:
    """Draws accuracy against confidence in each bin, and the number of examples in each bin.

    Guo et al. 2017, "On calibration of modern neural networks", figure 1.
    """
    counts, confidence, accuracy = (values.numpy() for values in calibration[:3])
    width = 1 / len(counts)
    centres = [(place + 0.5) * width for place in range(len(counts))]
    figure, (upper, lower) = new_figure(4.6, 5.4, 2, sharex=True, height_ratios=[3, 1])
    upper.bar(centres, calibration.accuracy.nan_to_num().numpy(), width * 0.94, label="accuracy")
    upper.plot([0, 1], [0, 1], "--", color="black", label="perfect calibration")
    points = {"color": "tab:orange", "clip_on": False, "label": "at the mean confidence"}
    upper.plot(confidence, accuracy, "o", **points)
    upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy")
    upper.legend(loc="upper left", frameon=False)
    upper.set_title(f"{title}: expected calibration error {calibration.error:.4f}", fontsize=11)
    lower.bar(centres, counts, width * 0.94, color="tab:gray")
    lower.set(xlabel="probability of the predicted class", ylabel="examples", yscale="symlog")
    return figure

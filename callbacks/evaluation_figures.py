"""Table and figures of an evaluated classifier: confusion, worst mistakes, calibration."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from callbacks.drawing import mosaic, percent
from callbacks.tally import Calibration, Evaluated, Mistakes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def table(evaluated: Evaluated, names: Sequence[str], title: str) -> str:
    """Formats loss, accuracies overall and by class, and calibration error as lines of text."""
    confusion = evaluated.confusion
    width = max(map(len, [*names, "accuracy"]))
    lines = [
        f"{title}, {evaluated.examples:,} examples",
        f"  {'loss':<{width}}  {evaluated.loss:.4f}",
        f"  {'accuracy':<{width}}  {percent(evaluated.hits, evaluated.examples)}",
    ]
    for row, name in enumerate(names):
        lines.append(f"  {name:<{width}}  {percent(confusion[row, row], confusion[row].sum())}")
    lines.append(
        f"  expected calibration error {evaluated.calibration.error:.4f}, "
        f"in {len(evaluated.calibration.counts)} bins"
    )
    return "\n".join(lines)


def draw_confusion(confusion: Tensor, names: Sequence[str], title: str) -> "Figure":
    """Draws counts (K, K) of true (rows) and predicted (columns) classes, coloured by share."""
    accuracy = percent(confusion.diagonal().sum(), confusion.sum())
    return draw_counts(confusion, names, f"{title}: accuracy {accuracy}", "true", "predicted")


def draw_counts(
    counts: Tensor, names: Sequence[str], title: str, rows: str, columns: str
) -> "Figure":
    """Draws counts (K, K) of pairs of classes, coloured by their share of the row."""
    import seaborn as sns
    from matplotlib.figure import Figure

    size = 2.2 + 0.55 * max(len(names), 4)
    figure = Figure(figsize=(size + 1, size), layout="constrained", dpi=110)
    axes = figure.subplots()
    shares = counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
    sns.heatmap(
        shares.numpy(),
        annot=counts.numpy(),
        fmt="d",
        cmap="Blues",
        vmin=0,
        vmax=1,
        square=True,
        linewidths=0.5,
        xticklabels=list(names),
        yticklabels=list(names),
        cbar_kws={"label": "share of the row", "shrink": 0.8},
        ax=axes,
    )
    axes.set(xlabel=columns, ylabel=rows)
    axes.set_title(title, fontsize=11)
    return figure


def draw_mistakes(mistakes: Mistakes, names: Sequence[str], title: str) -> "Figure":
    """Draws the worst mistakes, each under `true -> predicted` and the latter's probability.

    Images have one or three channels and any size.
    """
    titles = [
        f"{names[true]} \N{RIGHTWARDS ARROW} {names[predicted]}\n{probability:.4f}"
        for true, predicted, probability in zip(*mistakes[1:], strict=True)
    ]
    count = len(titles)
    heading = f"{title}: the {count} worst mistakes" if count > 1 else f"{title}: the worst mistake"
    heading += ", true \N{RIGHTWARDS ARROW} predicted"
    return mosaic(mistakes.images, titles, min(8, count), heading)


def draw_reliability(calibration: Calibration, title: str) -> "Figure":
    """Draws accuracy against confidence in each bin, and the number of examples in each bin.

    Guo et al. 2017, "On calibration of modern neural networks", figure 1.
    """
    from matplotlib.figure import Figure

    num_bins = len(calibration.counts)
    width = 1 / num_bins
    centres = [(place + 0.5) * width for place in range(num_bins)]
    figure = Figure(figsize=(4.6, 5.4), layout="constrained", dpi=110)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.bar(centres, calibration.accuracy.nan_to_num().numpy(), width * 0.94, label="accuracy")
    upper.plot([0, 1], [0, 1], "--", color="black", label="perfect calibration")
    upper.plot(
        calibration.confidence.numpy(),
        calibration.accuracy.numpy(),
        "o",
        color="tab:orange",
        clip_on=False,
        label="at the mean confidence",
    )
    upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy")
    upper.legend(loc="upper left", frameon=False)
    upper.set_title(f"{title}: expected calibration error {calibration.error:.4f}", fontsize=11)
    lower.bar(centres, calibration.counts.numpy(), width * 0.94, color="tab:gray")
    lower.set(xlabel="probability of the predicted class", ylabel="examples", yscale="symlog")
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
    return figure

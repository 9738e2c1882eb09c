"""Figure of the worst generated images."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from matplotlib.figure import Figure

from figures.pictures import mosaic

if TYPE_CHECKING:
    from metrics.samples import Samples

COLUMNS = 10  # of the worst images


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

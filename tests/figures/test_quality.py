"""Figures of the quality of generated images."""

import pytest
import torch

from figures.quality import draw_classes, draw_worst
from metrics import SCORES
from metrics.report import Report
from metrics.samples import Samples

NAMES = ["cat", "dog"]


def test_classes_have_dots_within_named_axes() -> None:
    report = Report(
        class_scores={"frechet": [20.0, 3.0], "accuracy": [0.992, 1.0]},
        class_floor={"frechet": [0.2, 0.1], "accuracy": [1.0, 1.0]},
    )
    figure = draw_classes(report, SCORES, NAMES)
    titles = [
        "Frechet distance by class\n(lower is better)",
        "accuracy by class\n(higher is better)",
    ]
    assert [axes.get_title() for axes in figure.axes] == titles
    for axes in figure.axes:
        real, generated = axes.lines
        assert (real.get_label(), generated.get_label()) == ("real images", "generated images")
        low, high = axes.get_ylim()
        for value in [*real.get_ydata(), *generated.get_ydata()]:
            assert min(value - low, high - value) > 0.04 * (high - low)
    assert figure.axes[0].get_ylim()[0] == pytest.approx(-1.9, abs=1)  # from zero on


@pytest.mark.parametrize("labels", [None, torch.tensor([0, 1])])
def test_the_worst_images_stand_above_real_ones(labels: torch.Tensor | None) -> None:
    images = torch.randint(256, (2, 1, 8, 8), dtype=torch.uint8)
    worst = Samples(torch.zeros(2, 4), torch.tensor([1, 1]), 2, labels, images)
    nearest = Samples(torch.zeros(2, 4), torch.tensor([0, 1]), 2, None, images)
    figure = draw_worst(worst, nearest, NAMES)
    titles = [text.get_text() for axes in figure.axes for text in axes.texts]
    above = ["seen as dog"] * 2 if labels is None else ["cat, seen as dog", "dog"]
    assert titles == [*above, "real cat", "real dog"]

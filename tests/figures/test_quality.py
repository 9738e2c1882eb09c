"""Figures of the quality of generated images."""

import pytest
import torch

from figures.quality import draw_worst
from metrics.samples import Samples

NAMES = ["cat", "dog"]


@pytest.mark.parametrize("labels", [None, torch.tensor([0, 1])])
def test_the_worst_images_stand_above_real_ones(labels: torch.Tensor | None) -> None:
    images = torch.randint(256, (2, 1, 8, 8), dtype=torch.uint8)
    worst = Samples(torch.zeros(2, 4), torch.tensor([1, 1]), 2, labels, images)
    nearest = Samples(torch.zeros(2, 4), torch.tensor([0, 1]), 2, None, images)
    figure = draw_worst(worst, nearest, NAMES)
    titles = [text.get_text() for axes in figure.axes for text in axes.texts]
    above = ["seen as dog"] * 2 if labels is None else ["cat, seen as dog", "dog"]
    assert titles == [*above, "real cat", "real dog"]

"""Figures of the quality of generated images."""

from types import SimpleNamespace
from typing import Any

import pytest

from figures.quality import draw_classes

SCORES: Any = [
    SimpleNamespace(class_name="accuracy", better="higher"),
    SimpleNamespace(class_name="frechet", better="lower"),
]


def test_classes_have_dots_within_named_axes() -> None:
    report: Any = SimpleNamespace(
        class_scores={"accuracy": [0.992, 1.0], "frechet": [20.0, 3.0]},
        class_floor={"accuracy": [1.0, 1.0], "frechet": [0.2, 0.1]},
    )
    figure = draw_classes(report, SCORES, ["cat", "dog"])
    titles = [
        "accuracy by class\n(higher is better)",
        "Frechet distance by class\n(lower is better)",
    ]
    assert [axes.get_title() for axes in figure.axes] == titles
    assert [axes.get_ylabel() for axes in figure.axes] == ["accuracy", "Frechet distance"]
    for axes in figure.axes:
        real, generated = axes.lines
        assert (real.get_label(), generated.get_label()) == ("real images", "generated images")
        low, high = axes.get_ylim()
        for value in [*real.get_ydata(), *generated.get_ydata()]:
            assert min(value - low, high - value) > 0.04 * (high - low)
        assert not axes.patches
    assert figure.axes[1].get_ylim()[0] == pytest.approx(-1.9, abs=1)  # from zero on

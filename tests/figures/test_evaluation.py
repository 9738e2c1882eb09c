"""The figures of an evaluation show its numbers, legibly."""

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

from callbacks.tally import Calibration, Mistakes
from figures.evaluation import (
    draw_confusion,
    draw_mistakes,
    draw_reliability,
    wilson_interval,
)
from figures.pictures import publish
from tests.callbacks.runs import trainer


def test_the_legend_of_a_reliability_diagram_lies_above_it() -> None:
    counts, shares = torch.tensor([0, 30]), torch.tensor([float("nan"), 0.9])
    figure = draw_reliability(Calibration(counts, shares, shares, 0.01), "Test")
    FigureCanvasAgg(figure).draw()
    axes = figure.axes[0]
    legend = axes.get_legend()
    assert axes.bbox.y1 < legend.get_window_extent().y0
    assert legend.get_window_extent().y1 < figure._suptitle.get_window_extent().y0  # type: ignore
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == [
        "as it should be: the probability",
        "share that is right",
        "its 95 % confidence interval",
    ]


def test_the_heat_map_has_counts_and_colours_by_row() -> None:
    figure = draw_confusion(torch.tensor([[3, 1], [0, 1]]), ["a", "b"], "Test: accuracy")
    axes = figure.axes[0]
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["3\n75.0%", "1\n25.0%", "1\n100.0%"]  # a zero is left out
    assert axes.collections[0].get_array().ravel().tolist() == [0.75, 0.25, None, 1.0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert figure.get_suptitle() == "Test: accuracy 80.00 % (4 of 5)"
    assert figure.axes[1].get_ylabel() == "share of the row (white: none)"


@pytest.mark.parametrize(("classes", "text"), [(2, "3\n100.0%"), (12, "3"), (30, None)])
def test_a_matrix_of_any_size_fits_a_slide(classes: int, text: str | None) -> None:
    names = [f"class {k}" for k in range(classes)]
    figure = draw_confusion(3 * torch.eye(classes, dtype=torch.int64), names, "A title " * 9)
    width, height = figure.get_size_inches()
    assert height * figure.dpi <= 720
    assert width > height
    texts = {cell.get_text() for cell in figure.axes[0].texts} - {""}
    assert texts == ({text} if text else set())


def test_one_in_a_thousand_is_visible() -> None:
    """Its colour differs from white by more than the eye needs on a projector, 10 of 255."""
    figure = draw_confusion(torch.tensor([[999, 1], [0, 1000]]), ["a", "b"], "")
    mesh = figure.axes[0].collections[0]
    red, zero = (255 * mesh.to_rgba(mesh.get_array()).reshape(2, 2, 4)[k, 1 - k, 0] for k in (0, 1))
    assert zero - red > 10


def test_half_a_row_differs_from_the_whole_row() -> None:
    mesh = draw_confusion(torch.tensor([[2, 0], [1, 1]]), ["a", "b"], "").axes[0].collections[0]
    whole, half = mesh.to_rgba(np.array([1.0, 0.5]))[:, 2]
    assert half - whole > 0.25


def test_the_interval_of_a_share_contains_it_and_narrows() -> None:
    """Wilson's interval of 0 of 10 is [0, 0.278], of 9 of 10 [0.596, 0.982] (Newcombe 1998)."""
    low, high = wilson_interval(np.array([0.0, 0.9]), np.array([10, 10]))
    np.testing.assert_allclose(low, [0, 0.596], atol=1e-3)
    np.testing.assert_allclose(high, [0.278, 0.982], atol=1e-3)


def test_mistakes_are_titled_true_then_predicted() -> None:
    mistakes = Mistakes(torch.rand(1, 1, 4, 4), [1], [0], [0.75])
    (text,) = draw_mistakes(mistakes, ["cat", "dog"], "Test").axes[0].texts
    assert text.get_text() == "dog \N{RIGHTWARDS ARROW} cat\np = 0.7500"


@pytest.mark.parametrize(
    "names", [["0", "1"], ["circle", "square"], ["handwriting", "photographs"]]
)
def test_titles_of_mistakes_are_apart(names: list[str]) -> None:
    mistakes = Mistakes(torch.rand(24, 1, 28, 28), [1] * 24, [0] * 24, [0.75] * 24)
    figure = draw_mistakes(mistakes, names, "Test")
    FigureCanvasAgg(figure).draw()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    rows = [b for b in boxes if b.y0 == boxes[0].y0]
    assert 1 < len(rows) <= 8
    assert all(left.x1 + 3 < right.x0 for left, right in zip(rows, rows[1:], strict=False))
    assert figure.get_size_inches()[0] < 13


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 5, 2)])
def test_mistakes_are_drawn_for_grey_and_colour_images_of_any_size(
    tmp_path: Path, shape: tuple[int, int, int]
) -> None:
    mistakes = Mistakes(torch.rand(2, *shape), [1, 0], [0, 1], [0.9, 0.8])
    figure = draw_mistakes(mistakes, ["a", "b"], "Test")
    assert len(figure.axes[0].texts) == 2
    publish(trainer(tmp_path), tmp_path, "mistakes", figure)
    assert (tmp_path / "mistakes.png").is_file()

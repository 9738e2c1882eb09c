"""The figures of an evaluation show its numbers, legibly."""

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

from figures.classification import (
    BINS,
    Mistakes,
    classification_report,
    percent,
    plot_confusion,
    plot_mistakes,
    plot_reliability,
)


def test_shares_are_given_with_their_counts():
    assert percent(29, 30) == "96.67 % [83.3, 99.4] (29 of 30)"
    large = percent(torch.tensor(1500), torch.tensor(2000))
    assert large == "75.00 % [73.1, 76.8] (1,500 of 2,000)"
    assert percent(0, 0) == "-"


@pytest.mark.parametrize("examples", [29, 30])
def test_few_examples_have_no_calibration_error(examples):
    counts = torch.tensor([[examples - 1, 1], [0, 0]])
    lines = classification_report(0.5, counts, 0.2, ["0", "cat"], "Test", {}).splitlines()
    assert lines[0].startswith(f"Test, {examples} examples; in brackets: 95 %")
    assert [line.split() for line in lines[1:2]] == [["loss", "0.5000"]]
    assert lines[3].split()[:2] == ["balanced", "accuracy"]
    assert lines[4].startswith("  class 0 ")
    assert lines[5].split() == ["cat", "-"]
    assert ("calibration error 0.2000" in lines[-2]) is (examples == 30)
    assert lines[-1] == "Fewer than 100 examples: others may score otherwise."


def test_a_reliability_diagram_has_the_accuracy_of_each_bin():
    """One is in the last bin, and an edge in the bin above it, as in torchmetrics."""
    confidence, hits = torch.tensor([0.4, 0.41, 0.9, 0.95, 1.0]), torch.tensor([0, 1, 1, 0, 1])
    figure = plot_reliability(confidence, hits, 0.01, "Test")
    upper, lower = figure.axes
    shares = {round(bar.get_x() * BINS): bar.get_height() for bar in upper.containers[0]}
    assert {place: share for place, share in shares.items() if share} == {6: 0.5, 13: 1.0, 14: 0.5}
    assert [bar.get_height() for bar in lower.containers[0]][-2:] == [1, 2]


def test_the_heat_map_has_counts_and_colors_by_row():
    figure = plot_confusion(torch.tensor([[3, 1], [0, 1]]), ["a", "b"], "Test: accuracy")
    axes = figure.axes[0]
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["3\n75.0%", "1\n25.0%", "", "1\n100.0%"]  # a zero is left out
    assert axes.collections[0].get_array().ravel().tolist() == [0.75, 0.25, 0.0, 1.0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    first, second = figure.get_suptitle().splitlines()
    assert first == "Test: accuracy 80.00 % [37.6, 96.4] (4 of 5)"
    assert second == "mean over classes 87.50 % [62.5, 100.0]; [ ]: 95 %"


@pytest.mark.parametrize(("classes", "label"), [(10, "class 1"), (12, "class 1 33%")])
def test_a_large_matrix_has_the_accuracy_of_a_class_beside_its_name(classes, label):
    counts = torch.diag(torch.tensor([2, 1] + [3] * (classes - 2)))
    counts[1, 0], counts[2, 2] = 2, 0
    axes = plot_confusion(counts, [f"class {k}" for k in range(classes)], "Test").axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()][1:3] == [label, "class 2"]


@pytest.mark.parametrize(("classes", "text"), [(2, "3\n100.0%"), (12, "3"), (30, None)])
def test_a_matrix_of_any_size_fits_a_slide(classes, text):
    names = [f"class {k}" for k in range(classes)]
    figure = plot_confusion(3 * torch.eye(classes, dtype=torch.int64), names, "A title " * 9)
    width, height = figure.get_size_inches()
    assert height * figure.dpi <= 720
    assert width > height
    texts = {cell.get_text() for cell in figure.axes[0].texts} - {""}
    assert texts == ({text} if text else set())


def test_mistakes_are_titled_true_then_predicted():
    mistakes = Mistakes(torch.rand(1, 1, 4, 4), [1], [0], [0.75])
    (text,) = plot_mistakes(mistakes, ["cat", "dog"], "Test").axes[0].texts
    assert text.get_text() == "dog \N{RIGHTWARDS ARROW} cat\np = 0.7500"


@pytest.mark.parametrize(
    "names", [["0", "1"], ["circle", "square"], ["handwriting", "photographs"]]
)
def test_titles_of_mistakes_are_apart(names):
    mistakes = Mistakes(torch.rand(24, 1, 28, 28), [1] * 24, [0] * 24, [0.75] * 24)
    figure = plot_mistakes(mistakes, names, "Test")
    FigureCanvasAgg(figure).draw()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    rows = [b for b in boxes if b.y0 == boxes[0].y0]
    assert 1 < len(rows) <= 8
    assert all(left.x1 + 3 < right.x0 for left, right in zip(rows, rows[1:], strict=False))
    assert figure.get_size_inches()[0] < 13

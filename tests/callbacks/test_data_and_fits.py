"""Pictures of the data, of decisions and of fits show what they say."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from matplotlib.contour import QuadContourSet
from torch import nn

from callbacks import data_figures
from callbacks.data_figures import DataFigures, draw_head, draw_pairs
from callbacks.decision_surface import DecisionSurface, draw_surface, probability_surface
from callbacks.function_fit import FunctionFit, draw_curve, draw_heat_maps, fit_title
from datamodules import Functions, Gates, Iris
from figures.pictures import mosaic
from models import FunctionMLP, GateLogistic, GateMLP
from models.networks import FeedForward
from tests.callbacks.runs import SHAPES, Pictures, Small, digits, trainer

TABLE = pd.DataFrame(
    {"height": [1.0, 2.0, 3.0, 5.0], "width": [0.1, 0.3, 0.2, 0.4], "kind": ["a", "a", "b", "b"]}
)


class Tabled(Iris):
    def table(self) -> pd.DataFrame:
        return TABLE


def figures(folder: Path) -> set[str]:
    return {path.name for path in (folder / "run" / "figures").glob("*.png")}


def test_a_new_run_shows_an_image_of_each_class_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(
        data_figures, "mosaic", lambda *args, **kw: drawn.append(args) or mosaic(*args, **kw)
    )
    data = digits()
    options = {"max_steps": 1, "limit_val_batches": 0}
    run = trainer(tmp_path, DataFigures(), **options)
    run.fit(Small(), datamodule=data)
    assert figures(tmp_path) == {"data_examples.png"}
    assert data.splits is not None
    ((images, titles, columns),) = drawn
    assert titles == [*"0123456789"]
    firsts = [data.splits.train.targets.tolist().index(digit) for digit in range(10)]
    assert torch.equal(images, data.splits.train.inputs[firsts])
    assert columns == 10
    run.save_checkpoint(tmp_path / "last.ckpt")
    again = trainer(tmp_path / "again", DataFigures(), max_steps=2, limit_val_batches=0)
    again.fit(Small(), datamodule=digits(), ckpt_path=tmp_path / "last.ckpt")
    assert len(drawn) == 1


@pytest.mark.parametrize("shape", SHAPES)
def test_images_of_any_shape_are_shown(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    run = trainer(tmp_path, DataFigures(), max_steps=1)
    run.fit(Small(shape, 4), datamodule=Pictures(shape))
    assert figures(tmp_path) == {"data_examples.png"}


def test_a_table_is_shown_as_head_and_pairs_and_gates_as_nothing(tmp_path: Path) -> None:
    options = {"max_steps": 1, "limit_val_batches": 0}
    trainer(tmp_path / "gates", DataFigures(), **options).fit(GateMLP(), datamodule=Gates())
    assert not figures(tmp_path / "gates")
    trainer(tmp_path / "table", DataFigures(), **options).fit(Small((4,), 3), datamodule=Tabled())
    assert figures(tmp_path / "table") == {"data_head.png", "data_pairs.png"}


def test_the_head_has_the_first_rows() -> None:
    (drawn,) = draw_head(TABLE, rows=2).axes[0].tables
    cells = {place: cell.get_text().get_text() for place, cell in drawn.get_celld().items()}
    assert [cells[0, c] for c in range(4)] == ["", "height", "width", "kind"]
    assert [cells[2, c] for c in range(4)] == ["1", "2.0", "0.3", "a"]
    assert (3, 0) not in cells


def test_pairs_put_each_column_against_each_other() -> None:
    figure = draw_pairs(TABLE)
    grid = figure.axes[:4]  # row by row; densities have axes of their own after these
    points = grid[1].collections[0].get_offsets()
    assert points.tolist() == TABLE[["width", "height"]].values.tolist()
    assert (grid[0].get_ylabel(), grid[3].get_xlabel()) == ("height", "width")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]


def test_the_decision_surface_has_the_first_input_to_the_right() -> None:
    model = GateLogistic()
    layer = next(part for part in model.network.modules() if isinstance(part, nn.Linear))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[10.0, 1.0]]))
        layer.bias.fill_(-5.0)
    axis = torch.linspace(-0.5, 1.5, 5)
    surface = probability_surface(model.train(), axis)
    expected = torch.sigmoid(10 * axis[None, :] + axis[:, None] - 5)
    torch.testing.assert_close(surface, expected)
    assert model.training
    points, targets = torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([0, 1])
    axes = draw_surface(axis, surface, points, targets, "OR").axes[0]
    assert [scatter.get_offsets().tolist() for scatter in axes.collections[-2:]] == [
        [[0.0, 1.0]],
        [[1.0, 0.0]],
    ]
    assert axes.get_title() == "OR: 0.5 along the black line"
    flat = draw_surface(axis, torch.full((5, 5), 0.2), points, targets)
    assert flat.axes[0].get_title() == "no 0.5 line"


@pytest.mark.parametrize(("low", "drawn"), [(0.46, False), (0.4, True)])
def test_an_undecided_surface_says_so_and_has_no_line(low: float, drawn: bool) -> None:
    axis, surface = torch.linspace(-0.5, 1.5, 5), torch.linspace(low, 0.52, 25).view(5, 5)
    points, targets = torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([0, 1])
    axes = draw_surface(axis, surface, points, targets, "XOR").axes[0]
    undecided = "XOR: undecided, P(1) is 0.46 to 0.52 everywhere"
    assert axes.get_title() == ("XOR: 0.5 along the black line" if drawn else undecided)
    assert any(isinstance(part, QuadContourSet) for part in axes.collections) == drawn
    same = draw_surface(axis, torch.full((5, 5), 0.501), points, targets).axes[0]
    assert same.get_title() == "undecided, P(1) is 0.50 everywhere"


def test_gates_end_with_their_surface_and_flowers_do_not(tmp_path: Path) -> None:
    trainer(tmp_path / "gate", DecisionSurface()).fit(GateMLP(), datamodule=Gates())
    assert figures(tmp_path / "gate") == {"decision_surface.png"}
    trainer(tmp_path / "iris", DecisionSurface()).fit(Small((4,), 3), datamodule=Iris())
    assert not figures(tmp_path / "iris")


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_a_function_ends_with_its_fit_if_it_can_be_drawn(tmp_path: Path, dimensions: int) -> None:
    data = Functions(function="x1", dimensions=dimensions, num_train=64, num_eval=64)
    trainer(tmp_path, FunctionFit()).fit(FunctionMLP((dimensions,)), datamodule=data)
    assert figures(tmp_path) == ({"function_fit.png"} if dimensions < 3 else set())


def test_a_curve_names_its_largest_error() -> None:
    x = torch.linspace(0, 1, 5)
    axes = draw_curve(x, x, x + torch.tensor([0, 0, -0.5, 0, 0.1]), x[:, None], x[:, None]).axes[0]
    assert axes.get_title() == f"largest error 0.5, root mean square {math.sqrt(0.26 / 5):.3g}"


def test_a_curve_has_a_title_and_visible_data() -> None:
    x = torch.linspace(0, 1, 5)
    figure = draw_curve(x, x, x + 1, x[:, None], x[:, None] + 0.25, "x1, 7 hidden units")
    axes = figure.axes[0]
    assert axes.get_title().splitlines()[0] == "x1, 7 hidden units"
    data = {line.get_label(): line for line in axes.lines}["data (5 points)"]
    truth = {line.get_label(): line for line in axes.lines}["truth"]
    assert data.get_zorder() > truth.get_zorder()
    assert axes.get_legend() is None  # beside the axes, where no curve is
    assert figure.legends


def test_a_fit_names_the_function_and_the_hidden_units() -> None:
    title = Functions(function="abs").title
    assert fit_title(title, FeedForward((1,), 1, [5, 6])) == "abs(x1), 5 + 6 hidden units"
    assert fit_title(title, FeedForward((1,), 1, 1)) == "abs(x1), 1 hidden unit"
    assert fit_title("", FeedForward((1,), 1, 0)) == "no hidden units"
    assert fit_title(title, nn.Linear(1, 1)) == "abs(x1)"


def test_heat_maps_have_the_first_variable_to_the_right() -> None:
    axis = torch.tensor([-1.0, 0.0, 1.0]).expand(3, 3)
    first = axis.T  # rows are the first variable
    truth, fit, error = (
        axes.collections[0].get_array()
        for axes in draw_heat_maps(axis, first, first + 0.25).axes[:3]
    )
    assert truth.tolist() == [[-1.0, 0.0, 1.0]] * 3
    assert fit.tolist() == [[-0.75, 0.25, 1.25]] * 3
    assert error.tolist() == [[0.25] * 3] * 3

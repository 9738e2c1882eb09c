"""A new run shows its data."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from lightning import LightningDataModule

from callbacks import Figures, data_figures
from callbacks.data_figures import plot_head, plot_pairs
from datamodules import Gates, Iris
from tests.callbacks.runs import SHAPES, Pictures, Small, digits, pictures, trainer

TABLE = pd.DataFrame(
    {"height": [1.0, 2.0, 3.0, 5.0], "width": [0.1, 0.3, 0.2, 0.4], "kind": ["a", "a", "b", "b"]}
)


def start(folder: Path, data: LightningDataModule) -> set[str]:
    """Starts a run, which draws its data, and returns the names of the pictures."""
    run = trainer(folder)
    data.setup("fit")
    run.datamodule = data
    Figures().on_fit_start(run, Small())
    return pictures(folder) - {"network.png"}


def test_an_image_of_each_class_is_shown_once(tmp_path, monkeypatch):
    drawn: list[Any] = []
    mosaic = data_figures.mosaic
    monkeypatch.setattr(
        data_figures, "mosaic", lambda *args, **kw: drawn.append(args) or mosaic(*args, **kw)
    )
    data = digits()
    assert start(tmp_path, data) == {"data_examples.png"}
    ((images, titles, columns),) = drawn
    assert titles == [*"0123456789"]
    firsts = [data.splits.train.targets.tolist().index(digit) for digit in range(10)]
    assert torch.equal(images, data.splits.train.inputs[firsts])
    assert columns == 10


@pytest.mark.parametrize("shape", SHAPES)
def test_images_of_any_shape_are_shown(tmp_path, shape):
    assert start(tmp_path, Pictures(shape)) == {"data_examples.png"}


def test_a_table_is_shown_as_head_and_pairs_and_gates_as_nothing(tmp_path, monkeypatch):
    assert not start(tmp_path / "gates", Gates())
    monkeypatch.setattr(Iris, "table", lambda _: TABLE)
    assert start(tmp_path / "table", Iris()) == {"data_head.png", "data_pairs.png"}


def test_a_resumed_run_does_not_show_them_again(tmp_path):
    run = trainer(tmp_path)
    run.datamodule, run.ckpt_path = digits(), "last.ckpt"
    Figures().on_fit_start(run, Small())
    assert not pictures(tmp_path)


def test_the_head_has_the_first_rows():
    (drawn,) = plot_head(TABLE, rows=2).axes[0].tables
    cells = {place: cell.get_text().get_text() for place, cell in drawn.get_celld().items()}
    assert [cells[0, c] for c in range(4)] == ["", "height", "width", "kind"]
    assert [cells[2, c] for c in range(4)] == ["1", "2.0", "0.3", "a"]
    assert (3, 0) not in cells


def test_pairs_put_each_column_against_each_other():
    figure = plot_pairs(TABLE)
    grid = figure.axes[:4]  # row by row; the axes of densities follow
    points = grid[1].collections[0].get_offsets()
    assert points.tolist() == TABLE[["width", "height"]].values.tolist()
    assert (grid[0].get_ylabel(), grid[3].get_xlabel()) == ("height", "width")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]

"""Drawing samples shows the run and does not change it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image

from callbacks import Curves, NetworkGraph, SampleGrid, Speed
from callbacks.samples import untrained_scores
from figures.pictures import beside, tile
from models import ConditionalGAN
from models.averaging import Averaging
from runtime.files import write
from runtime.loggers import RunCSVLogger
from tests.callbacks.runs import NAMES_PX, SHAPES, trainer
from tests.models.gans import DROPOUT, fit, same, small, state


def loggers(folder: Path) -> list[Any]:
    tensorboard = TensorBoardLogger(folder, name="", version="run")
    return [tensorboard, RunCSVLogger(folder / "run")]


def test_watching_a_run_changes_none_of_its_bits(tmp_path: Path) -> None:
    alone, watched = (small(**DROPOUT, average=Averaging(0.5)) for _ in range(2))
    watchers = [SampleGrid(min_steps=0), Speed(), Curves(), NetworkGraph()]
    options = {"max_steps": 3, "limit_train_batches": 2, "log_every_n_steps": 1}
    fit(alone, **options)
    fit(watched, *watchers, logger=loggers(tmp_path), **options)
    assert same(state(alone), state(watched))
    assert watched.generator.training


def test_the_grid_of_a_conditional_gan_has_a_row_a_digit(tmp_path: Path) -> None:
    fit(small(ConditionalGAN), SampleGrid(), max_steps=1, logger=loggers(tmp_path))
    with Image.open(tmp_path / "run" / "figures" / "samples.png") as picture:
        assert picture.size == (NAMES_PX + 2 * (10 * 30 + 2), 2 * (10 * 30 + 2))


@pytest.mark.parametrize(("steps", "grids"), [(4, 5), (40, 21), (45, 24)])
def test_a_run_of_any_length_draws_about_twenty_grids(
    steps: int, grids: int, tmp_path: Path
) -> None:
    fit(small(), SampleGrid(), max_steps=steps, logger=loggers(tmp_path))
    names = sorted(path.name for path in (tmp_path / "run" / "figures").glob("samples_*.png"))
    assert len(names) == grids
    assert (names[0], names[-1]) == ("samples_0000000.png", f"samples_{steps:07d}.png")


def test_names_stand_beside_their_rows() -> None:
    page = beside(Image.new("L", (50, 200), 128), ["0", "cat"])
    assert page.height == 200
    margin = np.asarray(page)[:, : page.width - 50]
    dark = (margin < 128).sum(axis=1)
    assert dark[:100].sum() < dark[100:].sum()  # "cat" has more ink than "0"
    rows = np.flatnonzero(dark)
    assert 40 < rows[0] < 50 < rows[rows < 100][-1] < 62  # around the middle of its row


def test_tiles_lie_row_by_row() -> None:
    images = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 1, 2, 2) / 10
    picture = tile(images, columns=3, padding=1, scale=1)
    assert picture.shape == (1, 2 * 3 + 1, 3 * 3 + 1)
    torch.testing.assert_close(picture[0, 1::3, 1::3], torch.arange(6.0).view(2, 3) / 10)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_grid_shows_images_of_any_shape(shape: tuple[int, int, int], tmp_path: Path) -> None:
    model = small(ConditionalGAN, image_shape=shape)
    SampleGrid()._draw(trainer(tmp_path, logger=loggers(tmp_path)), model)
    scale = max(1, round(56 / shape[1]))
    with Image.open(tmp_path / "run" / "figures" / "samples.png") as picture:
        assert picture.size == (
            NAMES_PX + scale * (10 * (shape[2] + 2) + 2),
            scale * (10 * (shape[1] + 2) + 2),
        )
        assert picture.mode == {1: "L", 3: "RGB"}[shape[0]]


def test_scores_of_an_undecided_discriminator_are_a_half() -> None:
    model = small()
    for parameter in model.discriminator.realness.parameters():
        torch.nn.init.zeros_(parameter)
    line = untrained_scores(model, torch.rand(8, 1, 28, 28), torch.zeros(8).long())
    assert line.count("0.500") == 10


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.png"

    def fail(partial: Path) -> None:
        partial.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write(path, fail)
    assert not path.exists()
    write(path, lambda partial: partial.write_text("whole"))
    assert path.read_text() == "whole"

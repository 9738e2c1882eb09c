"""Drawing samples shows the run and does not change it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image

from callbacks import Figures, SampleGrid, StepMonitor
from callbacks.samples import untrained_scores
from models import ConditionalGAN
from models.training import EMAOptions
from runtime.loggers import RunCSVLogger
from tests.callbacks.runs import NAMES_PX, SHAPES, trainer
from tests.models.gans import DROPOUT, fit, same, small, state


def loggers(folder: Path) -> list[Any]:
    (folder / "run").mkdir(exist_ok=True)
    return [TensorBoardLogger(folder, name="", version="run"), RunCSVLogger(folder / "run")]


def test_watching_a_run_changes_none_of_its_bits(tmp_path):
    alone, watched = (small(**DROPOUT, average=EMAOptions(0.5)) for _ in range(2))
    watchers = [SampleGrid(min_steps=1), StepMonitor(), Figures()]
    options = {"max_steps": 3, "limit_train_batches": 2, "log_every_n_steps": 1}
    fit(alone, **options)
    fit(watched, *watchers, logger=loggers(tmp_path), **options)
    assert same(state(alone), state(watched))
    assert watched.generator.training


@pytest.mark.parametrize(("steps", "every", "grids"), [(4, None, 5), (45, None, 24), (8, 3, 4)])
def test_a_run_of_any_length_draws_about_twenty_grids(steps, every, grids, tmp_path):
    fit(small(), SampleGrid(every), max_steps=steps, logger=loggers(tmp_path))
    names = sorted(path.name for path in (tmp_path / "run" / "figures").glob("samples_*.png"))
    assert len(names) == grids
    assert (names[0], names[-1]) == ("samples_0000000.png", f"samples_{steps:07d}.png")


@pytest.mark.parametrize("shape", SHAPES)
def test_a_grid_has_a_row_for_each_class_of_images_of_any_shape(shape, tmp_path):
    model = small(ConditionalGAN, image_shape=shape)
    SampleGrid()._plot(trainer(tmp_path, logger=loggers(tmp_path)), model)
    scale = max(1, round(56 / shape[1]))
    with Image.open(tmp_path / "run" / "figures" / "samples.png") as picture:
        assert picture.size == (
            NAMES_PX + scale * (10 * (shape[2] + 2) + 2),
            scale * (10 * (shape[1] + 2) + 2),
        )
        assert picture.mode == {1: "L", 3: "RGB"}[shape[0]]


def test_scores_of_an_undecided_discriminator_are_a_half():
    model = small()
    for parameter in model.discriminator.realness.parameters():
        torch.nn.init.zeros_(parameter)
    images, labels = torch.rand(8, 1, 28, 28), torch.zeros(8).long()
    for batch in ([images, labels], images):
        line = untrained_scores(model, batch)
        assert line.count("0.500") == 10
        assert line.startswith("Untrained discriminator, P(real): real images 0.500")
    few = untrained_scores(model, [images[:3], labels[:3]])
    assert few.count("0.500") == 6
    model.realness = lambda *_: None
    assert untrained_scores(model, images) == ""

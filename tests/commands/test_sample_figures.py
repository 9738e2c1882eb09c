"""Pictures of `sample`: grids, paths, neighbors, the film of the training."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Trainer
from PIL import Image

from commands import sample_figures
from commands.sample import Generation
from commands.sample_figures import (
    draw_animation,
    draw_grid,
    draw_neighbors,
    draw_paths,
    nearest_images,
    spherical,
)
from figures.pictures import mosaic
from models import ConditionalGAN
from runtime.errors import UserError
from tests.callbacks.runs import NAMES_PX, SHAPES, TITLE_PX, Pictures, trainer
from tests.models.gans import small


def test_a_spherical_path_keeps_its_length_and_meets_its_ends() -> None:
    start, end = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 3.0]])
    middle = spherical(start, end, torch.tensor(0.5))
    torch.testing.assert_close(middle, torch.full((1, 2), 3 / 2**0.5))
    torch.testing.assert_close(spherical(start, end, torch.tensor(0.0)), start)
    torch.testing.assert_close(spherical(start, end, torch.tensor(1.0)), end)


def test_the_nearest_images_are_found_among_many() -> None:
    among = torch.zeros(20_050, 1, 2, 2, dtype=torch.uint8)
    among[:, 0, 0, 0] = 255
    among[10_007], among[20_049] = 10, 12
    nearest, distances = nearest_images(torch.full((1, 1, 2, 2), 10, dtype=torch.uint8), among, 2)
    assert nearest[0].unique().tolist() == [10, 12]
    torch.testing.assert_close(distances, torch.tensor([[0.0, 4 / 255]]))


class SamplingTrainer(Generation, Trainer):
    pass


@pytest.mark.parametrize("shape", SHAPES)
def test_images_of_any_shape(shape: tuple[int, int, int], tmp_path: Path) -> None:
    model = small(ConditionalGAN, image_shape=shape, num_classes=4)
    figures: dict[str, Any] = {"interpolate": "linear", "between": [0, 3], "neighbors": 2}
    trainer(tmp_path, kind=SamplingTrainer).sample(
        model, Pictures(shape), count=6, classes=[2, 0], out=tmp_path, **figures
    )
    with np.load(tmp_path / "samples.npz") as arrays:
        assert arrays["images"].shape == (6, *shape[1:], *([3] if shape[0] == 3 else []))
        assert arrays["labels"].tolist() == [2, 0] * 3
    (tmp_path / "figures").mkdir()
    for step in range(2):
        shutil.copy(tmp_path / "grid.png", tmp_path / "figures" / f"samples_{step}.png")
    draw_animation(tmp_path, tmp_path)
    assert (tmp_path / "neighbors.png").is_file()
    for name, columns, rows in (
        ("grid.png", 3, 2),
        ("training.gif", 3, 2),
        ("interpolation.png", 10, 2),
        ("between_0_3.png", 10, 5),
    ):
        with Image.open(tmp_path / name) as picture:
            width, height = columns * (shape[2] + 2) + 2, rows * (shape[1] + 2) + 2
            names = NAMES_PX * (name != "between_0_3.png")
            title = TITLE_PX * (name != "grid.png")
            scale = (picture.height - title) // height
            assert picture.height == title + scale * height
            assert picture.width >= names + scale * width
            assert picture.height < 760


def test_a_path_between_many_classes(tmp_path: Path) -> None:
    model = small(ConditionalGAN, num_classes=300)
    draw_paths(tmp_path, model, 0, "linear", None, list(range(300)))
    assert Image.open(tmp_path / "interpolation.png").size[1] == TITLE_PX + 300 * 30 + 2


def test_many_neighbors_make_two_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(
        sample_figures, "mosaic", lambda *args, **kw: drawn.append(args) or mosaic(*args, **kw)
    )
    data = Pictures((1, 28, 28))
    data.setup()
    assert data.splits is not None
    images = data.splits.train.inputs
    for count in (3, 7):
        draw_neighbors(tmp_path, images[:count], data)
    (one, titles, columns, _), (two, more, wide, heading) = drawn
    assert (len(one), columns, wide, len(two)) == (18, 6, 13, 4 * 13)
    assert torch.equal(one[6], images[1])
    assert torch.equal(two[7], images[1])
    assert titles[:2] == more[:2] == more[7:9] == ["sample", "0.0"]
    assert (two[-7:] == 255).all()  # no eighth sample
    assert more[-7:] == [""] * 7
    assert "Distance: Euclidean, pixels in [0, 1]" in heading
    width, height = Image.open(tmp_path / "neighbors.png").size
    assert width > height


def test_neighbors_need_images_of_the_same_shape(tmp_path: Path) -> None:
    images = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    with pytest.raises(UserError, match=r"shape \(3, 32, 32\) cannot be compared"):
        draw_neighbors(tmp_path, images, Pictures())
    with pytest.raises(UserError, match="give --data as well"):
        draw_neighbors(tmp_path, images, None)


def test_twenty_five_images_make_a_square_of_five(tmp_path: Path) -> None:
    images = torch.zeros(25, 1, 28, 28, dtype=torch.uint8)
    path = draw_grid(tmp_path, {"images": images}, None, [])
    assert Image.open(path).size == (4 * (5 * 30 + 2), 4 * (5 * 30 + 2))

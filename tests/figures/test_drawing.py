"""Grids of images of any shape, in grey and in colour."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from callbacks.results import class_names, data_of
from datamodules import Iris
from figures.pictures import mosaic, tile, write_png
from tests.callbacks.runs import SHAPES, Pictures, trainer

Shape = tuple[int, int, int]


def colours(shape: Shape, count: int = 6) -> torch.Tensor:
    """Images (N, C, H, W) of one value per image and channel, in [0, 1]; the last is white."""
    channels, height, width = shape
    values = torch.linspace(0, 1, count)[:, None] ** torch.arange(1, channels + 1)
    return values[:, :, None, None].expand(count, channels, height, width)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", [torch.float32, torch.uint8])
def test_a_mosaic_shows_every_image_in_its_place(shape: Shape, kind: torch.dtype) -> None:
    images = colours(shape) if kind.is_floating_point else (255 * colours(shape)).to(kind)
    axes = mosaic(images, ["title"] * 6, columns=4).axes[0]
    array = torch.from_numpy(axes.images[0].get_array().filled(float("nan")))
    height, width = array.shape[0] // 2, array.shape[1] // 4
    full = 1.0 if shape[0] == 3 or kind.is_floating_point else 255.0
    for place, image in enumerate(images.float() / (1 if kind.is_floating_point else 255)):
        row, column = divmod(place, 4)
        tile = array[row * height :, column * width :]
        found = tile[height - shape[1] // 2, width // 2] / full  # Images are below their titles.
        torch.testing.assert_close(found.view(-1), image[:, 0, 0], rtol=0, atol=1e-5)
    x, y = axes.texts[5].get_position()
    assert (x // width, y // height) == (1, 1)


def test_a_signed_mosaic_is_symmetric_around_zero() -> None:
    figure = mosaic(torch.tensor([-3.0, 1.0]).view(2, 1, 1).expand(2, 5, 5), signed=True)
    assert figure.axes[0].images[0].get_clim() == (-3, 3)
    assert len(figure.axes) == 2  # With a colour bar.


@pytest.mark.parametrize("shape", SHAPES)
def test_a_tiled_picture_keeps_its_colours(shape: Shape, tmp_path: Path) -> None:
    images = colours(shape, count=3)
    write_png(tmp_path / "a.png", tile(images, columns=2, scale=1))
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == {1: "L", 3: "RGB"}[shape[0]]
        assert picture.size == (2 * shape[2] + 6, 2 * shape[1] + 6)
        middle = picture.getpixel((shape[2] + 5, 3))
    expected = tuple((255 * images[1, :, 0, 0]).round().int().tolist())
    assert (middle if isinstance(middle, tuple) else (middle,)) == expected


@pytest.mark.parametrize(("side", "scale"), [(16, 4), (28, 2), (32, 2), (64, 1)])
def test_small_images_are_enlarged(side: int, scale: int) -> None:
    assert tile(torch.zeros(1, 1, side, side), columns=1).shape[1] == scale * side


def test_names_are_the_data_modules_or_numbers(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    assert class_names(data_of(run), 2) == ["0", "1"]
    run.datamodule = Pictures()
    assert class_names(data_of(run), 4) == ["kind 0", "kind 1", "kind 2", "kind 3"]
    run.datamodule = Iris()
    assert data_of(run) is run.datamodule

"""Grids of images of any shape, where pictures go, and what happens to one that fails."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure
from PIL import Image

from figures.pictures import (
    figures_folder,
    mosaic,
    name_rows,
    publish,
    read_png,
    run_folder,
    tile,
    write_film,
    write_png,
)
from runtime.errors import UserError
from tests.callbacks.runs import SHAPES, trainer

Shape = tuple[int, int, int]


def colors(shape: Shape, count: int = 6) -> torch.Tensor:
    """Images (N, C, H, W) of one value per image and channel, in [0, 1]; the last is white."""
    channels, height, width = shape
    values = torch.linspace(0, 1, count)[:, None] ** torch.arange(1, channels + 1)
    return values[:, :, None, None].expand(count, channels, height, width)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_mosaic_shows_every_image_in_its_place(shape):
    images = colors(shape)
    axes = mosaic(images, ["title"] * 6, columns=4).axes[0]
    array = torch.from_numpy(axes.images[0].get_array().filled(float("nan")))
    height, width = array.shape[0] // 2, array.shape[1] // 4
    for place, image in enumerate(images):
        row, column = divmod(place, 4)
        part = array[row * height :, column * width :]
        found = part[height - shape[1] // 2, width // 2]  # Images are below their titles.
        torch.testing.assert_close(found.view(-1), image[:, 0, 0], rtol=0, atol=1e-5)
    x, y = axes.texts[5].get_position()
    assert (x // width, y // height) == (1, 1)


def test_a_signed_mosaic_is_symmetric_around_zero():
    figure = mosaic(torch.tensor([-3.0, 1.0]).view(2, 1, 1).expand(2, 5, 5), signed=True)
    assert figure.axes[0].images[0].get_clim() == (-3, 3)
    assert len(figure.axes) == 2  # With a color bar.


@pytest.mark.parametrize("shape", SHAPES)
def test_a_tiled_picture_keeps_its_colors(shape, tmp_path):
    images = colors(shape, count=3)
    write_png(tmp_path / "a.png", tile(images, columns=2, scale=1))
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == {1: "L", 3: "RGB"}[shape[0]]
        assert picture.size == (2 * shape[2] + 6, 2 * shape[1] + 6)
        middle = picture.getpixel((shape[2] + 5, 3))
    expected = tuple((255 * images[1, :, 0, 0]).round().int().tolist())
    assert (middle if isinstance(middle, tuple) else (middle,)) == expected


@pytest.mark.parametrize(("side", "scale"), [(16, 4), (28, 2), (64, 1)])
def test_small_images_are_enlarged_and_the_frame_is_lighter_than_noise(side, scale):
    picture = tile(torch.full((1, 1, side, side), 0.5), columns=1, padding=0)
    assert picture.shape[1] == scale * side
    assert tile(torch.full((2, 1, 4, 4), 0.5), columns=1)[0, 0, 0] > 0.7


def test_names_stand_beside_their_rows():
    page = name_rows(Image.new("L", (50, 200), 128), ["0", "cat"])
    assert page.height == 200
    dark = (np.asarray(page)[:, : page.width - 50] < 128).sum(axis=1)
    assert dark[:100].sum() < dark[100:].sum()  # "cat" has more ink than "0"
    rows = np.flatnonzero(dark)
    assert 40 < rows[0] < 50 < rows[rows < 100][-1] < 62  # around the middle of its row


def test_pictures_can_be_switched_off_and_results_stay(tmp_path):
    run = trainer(tmp_path)
    assert figures_folder(run) == tmp_path / "run" / "figures"
    run.pictures = False
    assert figures_folder(run) is None
    assert run_folder(run) == tmp_path / "run"
    assert run_folder(trainer(tmp_path, logger=False)) is None


class Full(Figure):
    """A figure on a disk that is full."""

    def savefig(self, path: Any, **kwargs: Any) -> None:
        Path(path).write_bytes(b"half a pict")
        raise OSError("no space left")


def fail() -> Figure:
    raise ZeroDivisionError("division by zero")


@pytest.mark.parametrize(
    ("draw", "reason"),
    [(Full, "OSError: no space left"), (fail, "ZeroDivisionError: division by zero")],
)
def test_a_picture_that_fails_is_a_warning_and_the_old_one_stays(draw, reason, tmp_path):
    (tmp_path / "a.png").write_bytes(b"the old one")
    with pytest.warns(UserWarning, match=f"a.png was not drawn: {reason}"):
        publish(trainer(tmp_path), tmp_path, "a", draw)
    assert (tmp_path / "a.png").read_bytes() == b"the old one"


def test_a_picture_is_sent_to_tensorboard(tmp_path):
    sent: list[Any] = []
    logger = TensorBoardLogger(tmp_path, "", "run")
    logger._experiment = SimpleNamespace(add_image=lambda *args, **_: sent.append(args))
    run = trainer(tmp_path, logger=logger)
    publish(run, tmp_path, "a", lambda: Figure((1, 2)), vector=True)
    ((name, pixels, step),) = sent
    assert (name, step) == ("figures/a", 0)
    assert pixels.shape == (200, 100, 3)
    assert (tmp_path / "a.svg").is_file()


def test_a_picture_of_others_is_a_png_of_a_sound_size(tmp_path):
    """An EPS that is named .png would start Ghostscript."""
    small, large, other = (tmp_path / name for name in ("a.png", "b.png", "c.png"))
    Image.new("L", (3, 2)).save(small)
    Image.new("1", (9000, 9000)).save(large)
    Image.new("RGB", (3, 2)).save(other, format="EPS")
    assert read_png(small).size == (3, 2)
    for path, reason in ((large, "9,000 x 9,000 pixels"), (other, "cannot identify")):
        with pytest.raises(UserError, match=rf"png: cannot be opened as a PNG \({reason}"):
            read_png(path)
        with pytest.raises(UserError, match="cannot be opened as a PNG"):
            write_film(tmp_path / "a.gif", [small, path])
    write_film(tmp_path / "b.gif", [small, small, small])
    with Image.open(tmp_path / "b.gif") as film:
        assert film.n_frames == 3 or film.info["duration"] == 2100  # equal ones are joined

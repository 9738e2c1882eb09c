"""`demo` brings a drawing to the form of the training images, and says what a classifier sees."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from commands.demo.canvas import PREFIX, SIDE, ink_of
from commands.demo.digits import (
    answer,
    as_input,
    draw_answer,
    frame_drawing,
    preferred_inputs,
    takes_drawings,
)
from commands.demo.models import Trained
from datamodules import Images
from datamodules.frame import Frame
from models import ImageClassifier, ResidualConvNet

MNIST = Frame((1, 28, 28), 255.0, background=0.0, extent=20 / 28, centre=(0.5, 0.5))


def stroke(*points: tuple[int, int], width: int = 24) -> np.ndarray:
    """The ink of a line through these places (x, y) of the canvas."""
    page = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(page).line(points, fill=255, width=width)
    return np.asarray(page, np.float32) / 255


def as_value(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, format="PNG")
    return PREFIX + base64.b64encode(file.getvalue()).decode()


def centre_of_mass(image: torch.Tensor) -> tuple[float, float]:
    weights = image[0].double()
    places = torch.arange(len(weights), dtype=torch.float64) + 0.5
    total = weights.sum()
    return float(weights.sum(1) @ places / total), float(weights.sum(0) @ places / total)


@pytest.mark.parametrize("points", [
    [(20, 20), (60, 100)],  # small, in a corner
    [(5, 140), (275, 140)],  # wide
    [(140, 5), (140, 275)],  # high
    [(200, 30), (240, 200), (150, 260)],
])  # fmt: skip
def test_a_drawing_is_framed_as_mnist(points: list[tuple[int, int]]) -> None:
    """MNIST: scaled to a 20 x 20 box, and placed in 28 x 28 by its centre of mass."""
    image = frame_drawing(stroke(*points), MNIST)
    assert image is not None
    assert (image.dtype, tuple(image.shape)) == (torch.uint8, (1, 28, 28))
    rows, columns = (np.flatnonzero(image[0].amax(axis).numpy() > 0) for axis in (1, 0))
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
    assert centre_of_mass(image) == pytest.approx((14, 14), abs=0.51)  # to a pixel
    assert image.max() == 255
    assert image.min() == 0


def test_the_place_and_the_size_of_a_drawing_do_not_matter() -> None:
    small = frame_drawing(stroke((20, 20), (60, 120), width=10), MNIST)
    large = frame_drawing(stroke((60, 60), (140, 260), width=20), MNIST)
    other = frame_drawing(stroke((140, 60), (60, 260), width=20), MNIST)
    assert small is not None
    assert large is not None
    assert other is not None
    assert (small.float() - other.float()).abs().mean() > 20
    assert (small.float() - large.float()).abs().mean() < 10  # grey levels


def test_a_training_digit_that_is_drawn_large_returns() -> None:
    data = Images("digits")
    data.setup()
    assert data.splits is not None
    digit = data.splits.train.inputs[5]
    large = digit[0].repeat_interleave(10, 0).repeat_interleave(10, 1).numpy() / 255
    image = frame_drawing(large, data.frame())
    assert image is not None
    assert (image.float() - digit.float()).abs().mean() < 25  # 80 to another digit


def test_dark_figures_on_a_light_ground_are_framed_dark() -> None:
    image = frame_drawing(stroke((100, 100), (180, 200)), MNIST._replace(background=255.0))
    assert image is not None
    assert image[0, 0, 0] == 255
    assert image[0, 14, 14] < 50


def test_no_ink_is_no_image() -> None:
    assert frame_drawing(np.zeros((SIDE, SIDE), np.float32), MNIST) is None
    colour = Frame((3, 32, 32), 255.0, ("cat", "dog"))
    assert as_input(np.zeros((SIDE, SIDE), np.float32), colour) is None


def test_a_model_of_colour_images_gets_ink_on_paper() -> None:
    colour = Frame((3, 32, 32), 255.0, ("cat", "dog"))
    assert not takes_drawings(colour)
    image = as_input(stroke((100, 100), (180, 200)), colour)
    assert image is not None
    assert tuple(image.shape) == (3, 32, 32)
    assert image[:, 0, 0].tolist() == [255] * 3
    assert image.min() < 50


def test_an_uploaded_file_is_brought_to_the_models_shape(tmp_path: Path) -> None:
    path = tmp_path / "red.png"
    Image.new("RGB", (50, 40), "red").save(path)
    image = as_input(path, Frame((3, 16, 24), 255.0, ("cat", "dog")))
    assert image is not None
    assert tuple(image.shape) == (3, 16, 24)
    assert image[:, 8, 12].tolist() == [255, 0, 0]


def test_the_canvas_gives_its_ink() -> None:
    page = Image.new("RGBA", (SIDE, SIDE))
    ImageDraw.Draw(page).rectangle((10, 20, 29, 59), fill=(0, 0, 0, 255))
    ink = ink_of(as_value(page))
    assert ink.shape == (SIDE, SIDE)
    assert ink.sum() == 20 * 40
    assert ink[20, 10] == 1


@pytest.mark.parametrize("value", [
    None, "", "hello", PREFIX, PREFIX + "no base64!", PREFIX + "aGVsbG8=",
    PREFIX + "A" * 2_000_000,
])  # fmt: skip
def test_another_value_of_the_canvas_is_no_ink(value: str | None) -> None:
    assert ink_of(value).sum() == 0


def test_a_picture_of_another_size_is_no_ink() -> None:
    assert ink_of(as_value(Image.new("RGBA", (SIDE + 1, SIDE), "black"))).sum() == 0


@pytest.fixture
def classifier() -> Trained:
    torch.manual_seed(0)
    model = ImageClassifier((1, 28, 28), 10, network=lambda s, n: ResidualConvNet(s, n, 2))
    return Trained("run", Path(), model.eval(), MNIST)


def test_an_answer_has_each_class_and_a_map(classifier: Trained) -> None:
    image = frame_drawing(stroke((100, 100), (180, 200)), MNIST)
    assert image is not None
    found = answer(classifier, image)
    assert found.probabilities.sum() == pytest.approx(1)
    best = int(found.probabilities.argmax())
    assert found.text == f"{best}: {100 * found.probabilities[best]:.1f} %"
    assert found.occlusion.shape == (12, 12)  # squares of 6 x 6 pixels, every second pixel
    for wide in (True, False):
        titles = [axes.get_title() for axes in draw_answer(found, wide).axes]
        assert titles[:3] == ["probability", "the network gets", f"P({best}) if covered here"]


def test_preferred_inputs_are_computed_once(classifier: Trained) -> None:
    assert preferred_inputs(classifier) is preferred_inputs(classifier)

"""Images brought to the form of the training images."""

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules import Images, Iris
from datamodules.image_files import to_tensor
from datamodules.input_spec import InputSpec, as_pixels, match_spec, measure_spec
from runtime.errors import UserError
from tests.datasets import Stripes


def on_black(*boxes: tuple[slice, slice], level: int = 255) -> torch.Tensor:
    """Images (N, 1, 20, 20) of one rectangle each on a black background."""
    images = torch.zeros(len(boxes), 1, 20, 20, dtype=torch.uint8)
    for image, box in zip(images, boxes, strict=True):
        image[0][box] = level
    return images


SQUARES = on_black((slice(4, 14), slice(5, 9)), (slice(4, 8), slice(2, 12)))
MNIST_LIKE = InputSpec((1, 28, 28), 255.0, None, "crop", 0.0, 20 / 28, (0.5, 0.5))


def test_background_extent_and_center_are_measured():
    measured = measure_spec(SQUARES)
    assert (measured["background"], measured["extent"]) == (0.0, 0.5)
    assert measured["centre"] == pytest.approx((7.5 / 20, 7.0 / 20))
    inverted = measure_spec(255 - SQUARES)
    assert inverted == measured | {"background": 255.0}


def test_figures_of_any_size_have_no_typical_extent():
    boxes = [(slice(4, 4 + size), slice(5, 9)) for size in (5, 10, 15)]
    assert measure_spec(on_black(*boxes))["extent"] is None


@pytest.mark.parametrize("images", [Stripes(1), Stripes(3)])
def test_photograph_like_images_have_no_background(images):
    images.setup()
    assert images.input_spec() == InputSpec(images.image_shape, 255.0, images.class_names)


def test_a_data_set_measures_its_training_images_without_random_numbers():
    data = Images("digits")
    before = data.input_spec()
    assert before == InputSpec((1, 28, 28), 255.0)  # nothing is loaded
    state = torch.get_rng_state()
    data.setup()
    assert data.input_spec().background == 0.0
    assert data.input_spec().extent == 20 / 28
    assert torch.equal(torch.get_rng_state(), state)
    flowers = Iris()
    flowers.setup()
    assert flowers.input_spec().background is None


def test_a_checkpoint_keeps_the_frame_as_plain_values(tmp_path):
    data = Images("digits")
    data.setup()
    torch.save({"Images": data.state_dict()}, tmp_path / "it.ckpt")
    assert (
        InputSpec.of_checkpoint(torch.load(tmp_path / "it.ckpt", weights_only=True))
        == data.input_spec()
    )
    old = {"Images": {"frame": {"input_shape": (1, 28, 28), "scale": 255.0}}}
    assert InputSpec.of_checkpoint(old) == InputSpec((1, 28, 28), 255.0)
    old["Images"]["frame"]["class_names"] = ["a\nb", 1]
    frame = InputSpec.of_checkpoint(old)
    assert frame.class_names == ("a\\nb", "1")


def test_a_training_image_passes_unchanged():
    data = Images("digits")
    data.setup()
    for pixels in data.splits.train.inputs[:20]:
        result, note = match_spec(Image.fromarray(pixels[0].numpy()), data.input_spec())
        assert torch.equal(result, pixels)
        assert note == ""


def test_without_a_background_an_image_is_only_resized():
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20), dtype=np.uint8)
    result, note = match_spec(Image.fromarray(pixels), InputSpec((1, 20, 20), 255.0))
    assert np.array_equal(result[0].numpy(), pixels)
    assert note == ""


@pytest.mark.parametrize("light", [True, False])
def test_a_drawn_square_is_scaled_and_placed_as_the_training_images_were(light):
    drawn = np.full((100, 150), 0, np.uint8)
    drawn[10:50, 80:110] = 255
    pixels, note = match_spec(Image.fromarray(255 - drawn if light else drawn), MNIST_LIKE)
    expected = torch.zeros(1, 28, 28, dtype=torch.uint8)
    expected[0, 4:24, 6:21] = 255  # 20 rows, 15 columns; 7.5 columns left of the center, rounded
    assert (pixels.int() - expected.int()).abs().max() <= 1
    inverted = "dark on light, inverted to match the training images"
    assert note == (inverted if light else "")


def test_figures_whose_size_varies_are_inverted_but_not_scaled():
    drawn = np.full((56, 56), 250, np.uint8)
    drawn[8:48, 20:30] = 10
    image = Image.fromarray(drawn)
    pixels, note = match_spec(image, MNIST_LIKE._replace(extent=None))
    assert torch.equal(pixels, 255 - to_tensor(image, (1, 28, 28)))
    assert note.startswith("dark on light")


def test_a_blank_page_is_said_to_have_no_figure():
    noise = np.random.default_rng(0).normal(200, 5, (90, 90)).clip(0, 255).astype(np.uint8)
    for page in (noise, np.full((90, 90), 240, np.uint8)):
        assert match_spec(Image.fromarray(page), MNIST_LIKE)[1].endswith(
            "no foreground found, only resized"
        )


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_photographs_are_resized_as_in_training(fit):
    pixels = np.random.default_rng(0).integers(256, size=(40, 60, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    result, note = match_spec(image, InputSpec((3, 16, 16), fit=fit))
    assert torch.equal(result, to_tensor(image, (3, 16, 16), fit))
    assert note == ""


@pytest.mark.parametrize(
    "wrong",
    [
        {"input_shape": (1, 10**5, 10**6)},
        {"input_shape": "evil"},
        {"input_shape": (1, -8, -8)},
        {"input_shape": (1, 8.5, 8)},
        {"scale": "x"},
        {"scale": 0},
        {"fit": "x"},
        {"background": "x"},
        {"background": 0.0, "extent": 1e6},
        {"centre": (float("nan"), 0.5)},
        {"class_names": 5},
    ],
)
def test_a_description_that_somebody_else_wrote_is_checked(wrong):
    """Before, an image for the first one had 10^11 pixels, and no end after 10 s."""
    with pytest.raises(UserError, match="description of its inputs is not sound"):
        InputSpec.of_checkpoint({"Images": {"frame": {"input_shape": (1, 8, 8)} | wrong}})


def test_sound_descriptions_pass():
    for shape in ((1, 8, 8), (2,), ()):
        found = {"input_shape": shape, "scale": 255.0, "background": 255.0, "extent": 1.0}
        assert InputSpec.of_checkpoint({"Images": {"frame": found}}).input_shape == shape


@pytest.mark.parametrize(
    "images",
    [
        np.array(["a", "b"]), [Image.new("L", (8, 8)), Image.new("L", (9, 9))], [[1, 2], [3]], 5,
        Image.new("L", (8, 8)), None, np.zeros((2, 8, 8), np.uint16), [None, {}],
    ],
)  # fmt: skip
def test_what_is_no_array_of_images_is_one_line(images):
    with pytest.raises(UserError, match=r"^these images (are|have) .*: give ") as caught:
        as_pixels(images, (1, 8, 8))
    assert "\n" not in str(caught.value)


def test_images_of_pillow_are_an_array():
    image = Image.new("L", (8, 8), 7)
    expected = torch.full((2, 1, 8, 8), 7, dtype=torch.uint8)
    assert torch.equal(as_pixels([image] * 2, (1, 8, 8)), expected)

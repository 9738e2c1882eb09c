"""Augmentation moves what an image shows by the requested amount, and not further."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torchvision.transforms.v2.functional import (
    adjust_brightness,
    adjust_contrast,
    adjust_saturation,
    rgb_to_grayscale,
)

from models.image_classifiers import Augmentation, ImageClassifier, erase, recolor, transform

IDENTITY = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]


def matrices(*rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows)


@pytest.mark.parametrize("option", ["shift", "rotation", "zoom", "shear", "flip", "erase", "crop"])
def test_each_option_alone_changes_images(option):
    images = torch.rand(8, 1, 12, 12)
    torch.manual_seed(0)
    size = {"rotation": 20, "zoom": 0.2, "shear": 0.2, "crop": 0.5}.get(option, 2)
    assert not torch.equal(Augmentation(**{option: size})(images), images)
    assert torch.equal(Augmentation()(images), images)


def test_whole_pixels_shift_exactly_and_zeros_come_in():
    images = torch.rand(1, 1, 28, 20)
    shifted = transform(images, matrices([[1.0, 0.0, 3.0], [0.0, 1.0, -2.0]]))
    # each pixel comes from 3 columns to its right and 2 rows above it
    assert_close(shifted[..., 2:, :17], images[..., :26, 3:])
    assert shifted[..., :2, :].abs().max() < 1e-5
    assert shifted[..., 17:].abs().max() < 1e-5


def test_a_quarter_turn_is_rot90():
    images = torch.rand(1, 2, 28, 28)
    cos, sin = math.cos(math.pi / 2), math.sin(math.pi / 2)
    turned = transform(images, matrices([[cos, -sin, 0.0], [sin, cos, 0.0]]))
    assert_close(turned, images.rot90(1, (2, 3)), atol=1e-4, rtol=0)


def test_matrices_stay_in_their_ranges_and_use_them():
    drawn = Augmentation(shift=2, rotation=30, zoom=0.1).draw_matrices(torch.zeros(4000, 1, 28, 28))
    linear, shift = drawn[:, :, :2], drawn[:, :, 2]
    assert 1.95 < shift.abs().max() <= 2
    assert shift.mean(dim=0).abs().max() < 0.1
    angle = torch.atan2(linear[:, 1, 0], linear[:, 0, 0]).rad2deg()
    assert 29 < angle.abs().max() <= 30.001
    lengths = linear.norm(dim=1)  # of both columns: the zooms across and down
    assert 0.899 < lengths.min() < 0.91
    assert 1.09 < lengths.max() < 1.101
    assert lengths.std(dim=1).max() > 0.1  # each for itself


def test_each_number_is_drawn_for_itself():
    drawn = Augmentation(shift=2, rotation=30, shear=0.3).draw_matrices(
        torch.zeros(4000, 1, 28, 28)
    )
    turn = drawn[:, :, 0]  # cosine and sine of the angle
    angle, shear = torch.atan2(turn[:, 1], turn[:, 0]), (turn * drawn[:, :, 1]).sum(dim=1)
    numbers = torch.stack([angle, shear, *drawn[:, :, 2].T])
    assert_close(numbers.corrcoef(), torch.eye(4), atol=0.08, rtol=0)  # 5 standard deviations


def test_flip_mirrors_about_half_of_the_images():
    images = torch.rand(1, 1, 28, 28).expand(400, -1, -1, -1)
    flipped = Augmentation(flip=True)(images)
    is_mirror = (flipped - images.flip(3)).abs().amax(dim=(1, 2, 3)) < 1e-4
    is_same = (flipped - images).abs().amax(dim=(1, 2, 3)) < 1e-4
    assert (is_mirror ^ is_same).all()
    assert 150 < is_mirror.sum() < 250


def test_erased_square_is_zero_and_the_rest_untouched():
    images = torch.ones(500, 1, 28, 28)
    erased = erase(images, 6)
    gone = (erased == 0).sum(dim=(1, 2, 3))
    assert gone.max() == 36
    assert gone.min() >= 9  # centered in a corner
    assert ((erased == 0) | (erased == 1)).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_colors_change_as_those_of_torchvision_do(channels):
    images, factors = torch.rand(9, channels, 6, 5), torch.rand(9, 3) * 2
    for image, found, (brightness, contrast, saturation) in zip(
        images, recolor(images, factors), factors.tolist(), strict=True
    ):
        image = adjust_brightness(image, brightness)
        image = adjust_saturation(adjust_contrast(image, contrast), saturation)
        assert_close(found, image, atol=1e-5, rtol=0)


@pytest.mark.parametrize("position", range(3))
def test_each_color_option_changes_its_own_quantity_by_its_amount(position):
    """Of images with one colored half, whose values stay away from 0 and 1."""
    images = torch.full((2000, 3, 2, 2), 0.4)
    images[:, 0, 0] = 0.5
    amounts = [0.0, 0.0, 0.0]
    amounts[position] = 0.2
    found = Augmentation(color=tuple(amounts))(images)
    gray, before = rgb_to_grayscale(found), rgb_to_grayscale(images)
    quantities = [  # as a factor: of all values, of differences of gray, of those to gray
        (found / images).mean(dim=(1, 2, 3)),
        ((gray.amax((1, 2, 3)) - gray.amin((1, 2, 3))) / (before.max() - before.min())),
        ((found - gray)[:, 0, 0, 0] / (images - before)[0, 0, 0, 0]),
    ]
    changed = quantities[position]
    assert 0.8 <= changed.min() < 0.81
    assert 1.19 < changed.max() <= 1.2
    if position:  # brightness changes all three
        mean = rgb_to_grayscale(found).mean(dim=(1, 2, 3))
        assert_close(mean, torch.full_like(mean, before.mean().item()), atol=1e-5, rtol=0)


def test_random_crops_stay_inside_and_use_their_areas():
    drawn = Augmentation(crop=0.75).draw_matrices(torch.zeros(4000, 1, 20, 40))
    assert (drawn[:, 0, 1] == 0).all()
    assert (drawn[:, 1, 0] == 0).all()
    width, height = drawn[:, 0, 0], drawn[:, 1, 1]  # as fractions of the image's
    area, ratio = width * height, width / height
    assert 0.25 - 1e-5 <= area.min() < 0.26
    assert 0.98 < area.max() <= 1
    assert 0.75 - 1e-5 <= ratio.min() < 0.76
    assert 1.32 < ratio.max() <= 4 / 3 + 1e-5
    for size, side, shift in ((width, 40, drawn[:, 0, 2]), (height, 20, drawn[:, 1, 2])):
        room = (1 - size) * side / 2
        assert (shift.abs() <= room + 1e-4).all()
        assert ((shift.abs() / room.clamp(min=0.1))[room > 1]).max() > 0.99


def test_bf16_autocast_does_not_blur_the_grid():
    images = torch.rand(1, 1, 28, 28)
    with torch.autocast("cpu", torch.bfloat16):
        same = transform(images, matrices(IDENTITY))
    assert_close(same, images)


def test_a_classifier_hands_each_option_on():
    options: dict = {"shift": 1.0, "rotation": 2.0, "zoom": 0.3, "shear": 0.4, "erase": 5}
    colors: dict = {"brightness": 0.1, "contrast": 0.2, "saturation": 0.3}
    model = ImageClassifier((1, 28, 28), 2, flip=True, crop=0.5, **options, **colors)
    assert model.augmentation == Augmentation(flip=True, crop=0.5, color=(0.1, 0.2, 0.3), **options)


def test_own_augmentation_gets_training_images_after_the_others():
    """Weights and a class that `augmentation` makes are in checkpoints of plain values."""
    model = ImageClassifier((1, 8, 8), 2, erase=16, augmentation=partial(nn.Threshold, 0.5, 7.0))
    images, targets = torch.rand(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64)
    assert (model.augment(images, targets) == 7).all()
    saved = model.hparams["augmentation"]
    assert saved["class_path"] == "torch.nn.modules.activation.Threshold"

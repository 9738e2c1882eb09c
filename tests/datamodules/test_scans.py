"""Figures are found on uneven paper."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from datamodules.scans import _fit_paper, border, find_foreground, place_foreground

FONT = Path(matplotlib.__file__).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
Levels = np.ndarray


def digit(value: int, height: int, angle: float = 0.0) -> Levels:
    """A digit of the default font, 0 to 1, on a page 2.5 times as high, off-center."""
    page = Image.new("L", (2 * height, round(2.5 * height)), 0)
    font = ImageFont.truetype(str(FONT), round(1.37 * height))
    place = (round(0.8 * height), round(0.2 * height))
    ImageDraw.Draw(page).text(place, str(value), 255, font=font)
    return np.asarray(page.rotate(angle, Image.Resampling.BICUBIC), np.float32) / 255


def scanned(drawn: Levels, seed: int = 0) -> Image.Image:
    """Dark on gray paper under light from one side, with noise."""
    rows, columns = drawn.shape
    paper = np.linspace(150, 220, columns) + np.linspace(-20, 20, rows)[:, None]
    noise = np.random.default_rng(seed).normal(0, 8, drawn.shape)
    return Image.fromarray((paper * (1 - drawn) + 40 * drawn + noise).clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("value", [1, 4, 8])
@pytest.mark.parametrize("height", [20, 60, 500])
def test_a_scanned_digit_looks_like_the_drawn_one(value, height):
    drawn = digit(value, height, angle=5.0)
    found = find_foreground(scanned(drawn))
    assert found.light
    rows, columns = (np.flatnonzero((drawn > 0.5).any(axis)) for axis in (1, 0))
    clean = drawn[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    images = [Image.fromarray(ink).resize((20, 20)) for ink in (found.ink, clean)]
    similarity = np.corrcoef(*(np.asarray(image).ravel() for image in images))[0, 1]
    assert similarity > (0.7 if height == 20 else 0.95)  # one pixel is much of the smallest digit


@pytest.mark.parametrize(("levels", "found"), [(1, False), (3, True)])
def test_a_figure_is_at_least_two_gray_levels_from_the_paper(levels, found):
    page = np.full((100, 100), 200, np.uint8)
    page[40:60, 40:60] -= levels
    assert (find_foreground(Image.fromarray(page)) is not None) == found


def test_specks_and_the_edge_of_a_scan_are_left_out():
    scan = np.array(scanned(digit(3, 100)))
    clean = find_foreground(Image.fromarray(scan))
    scan[:, :6], scan[20:22, 30:32] = 20, 40
    dirty = find_foreground(Image.fromarray(scan))
    assert np.abs(np.subtract(dirty.ink.shape, clean.ink.shape)).max() <= 2


def test_noise_is_no_figure():
    noise = np.random.default_rng(1).normal(128, 20, (100, 100))
    assert find_foreground(Image.fromarray(noise.clip(0, 255).astype(np.uint8))) is None


def test_a_figure_is_centered_by_its_mass_and_stays_inside():
    bar = np.zeros((10, 10), np.float32)
    bar[:, :2] = 1  # its mass is at the left
    image = place_foreground(bar, (20, 20), 0.5, (0.5, 0.5))
    assert (image.sum(axis=0) > 5).nonzero()[0].tolist() == [9, 10]
    at_the_edge = place_foreground(bar, (20, 20), 0.5, (0.0, 1.0))
    assert at_the_edge[:10, 10:].sum() == pytest.approx(at_the_edge.sum())


def test_a_border_is_the_outermost_pixels():
    image = np.arange(20.0).reshape(4, 5)
    assert sorted(border(image)) == [0, 1, 2, 3, 4, 5, 9, 10, 14, 15, 16, 17, 18, 19]


def test_paper_is_a_quadratic_function_of_the_place():
    y, x = np.meshgrid(np.linspace(-1, 1, 40), np.linspace(-1, 1, 60), indexing="ij")
    light = 200 + 9 * x - 5 * y + 4 * x**2 + 3 * x * y - 7 * y**2
    is_paper = np.random.default_rng(0).random(light.shape) < 0.5
    written_on = np.where(is_paper, light, 0)
    np.testing.assert_allclose(_fit_paper(written_on, is_paper), light)


@pytest.mark.parametrize("shape", [(20, 30), (30, 20)])
@pytest.mark.parametrize("sides", [(4, 8), (8, 4)])
def test_the_longer_side_of_a_figure_is_a_share_of_the_longer_side(shape, sides):
    image = place_foreground(np.ones(sides, np.float32), shape, 0.4, (0.5, 0.5))
    assert [int(image.any(axis).sum()) for axis in (1, 0)] == [12 * side // 8 for side in sides]

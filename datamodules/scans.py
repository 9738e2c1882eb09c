"""Drawings on paper: segmented, and placed like the foreground of the training images."""

from typing import NamedTuple

import numpy as np
from PIL import Image

MAX_SCAN_SIDE = 800  # Pixels of a scan's longer side; a larger one is reduced first.
MIN_CONTRAST = 4.0  # Of a figure's edge, in standard deviations of the paper.
# Least area of a part, as a fraction of the largest one; smaller ones are dirt
MIN_PART_AREA = 0.02
# Largest fraction of a side that a part may fill; otherwise it is the scan's edge
MAX_EDGE_FRACTION = 0.6

Pixels = np.ndarray  # float32 (H, W)


class Foreground(NamedTuple):
    """A drawing that was segmented from paper of one color."""

    ink: Pixels  # 0 on paper to 1 in the middle of a stroke, cropped to the figure
    light: bool  # the paper is lighter than the drawing


def find_foreground(image: Image.Image) -> Foreground | None:
    """Segments a drawing on paper under uneven light; None if there is no contrast.

    The paper's brightness is a quadratic function of the place, fitted to the pixels that are not
    ink. Ink differs from it by more than half of the largest difference.
    """
    from scipy import ndimage

    image = image.convert("L")
    image.thumbnail((MAX_SCAN_SIDE, MAX_SCAN_SIDE), Image.Resampling.BOX)
    pixels = np.asarray(image, np.float32)
    smooth = ndimage.gaussian_filter(pixels, max(image.size) / 400)
    is_paper = np.ones(pixels.shape, bool)
    for _ in range(4):
        paper = _fit_paper(smooth, is_paper)
        difference = smooth - paper
        light = bool(-difference.min() > difference.max())
        sign = -1 if light else 1
        edge = np.abs(difference).max() / 2
        if edge < 1:
            return None  # a page of one gray level
        is_paper = sign * difference < edge
    if edge < MIN_CONTRAST * difference[is_paper].std():
        return None
    foreground = _without_dirt(~is_paper)
    ink = sign * (pixels - paper)
    full = np.percentile(ink[foreground], 75)
    ink = ((ink - edge / 2) / (full - edge / 2)).clip(0, 1) * ndimage.binary_dilation(foreground)
    rows, columns = (np.flatnonzero(foreground.any(axis)) for axis in (1, 0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return Foreground(ink[box].astype(np.float32), light)


def _without_dirt(ink: np.ndarray) -> np.ndarray:
    """Returns ink (H, W) without specks and without the dark edges of a scan."""
    from scipy import ndimage

    parts, count = ndimage.label(ink, np.ones((3, 3)))
    areas = np.bincount(parts[ink], minlength=count + 1)
    inner = areas.copy()
    for side in (parts[0], parts[-1], parts[:, 0], parts[:, -1]):
        inner[np.bincount(side, minlength=count + 1) > MAX_EDGE_FRACTION * len(side)] = 0
    areas = inner if inner.any() else areas
    return ((areas > 0) & (areas >= MIN_PART_AREA * areas.max()))[parts]


def border(pixels: Pixels) -> np.ndarray:
    """Returns the outermost pixels (..., 2 H + 2 W - 4) of images (..., H, W)."""
    top, bottom, sides = pixels[..., 0, :], pixels[..., -1, :], pixels[..., 1:-1, :]
    return np.concatenate([top, bottom, sides[..., 0], sides[..., -1]], axis=-1)


def _fit_paper(pixels: Pixels, is_paper: np.ndarray) -> Pixels:
    """Fits a quadratic function of the place to the pixels of the paper."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, side) for side in pixels.shape), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    step = max(1, is_paper.sum() // 20_000)  # 20,000 pixels suffice for the fit
    coefficients = np.linalg.lstsq(terms[is_paper][::step], pixels[is_paper][::step], rcond=None)[0]
    return terms @ coefficients


def place_foreground(
    ink: Pixels, shape: tuple[int, int], extent: float, center: tuple[float, float]
) -> Pixels:
    """Scales a foreground and places it in an image by its center of mass, as in MNIST.

    Args:
        ink: The figure, 0 to 1, cropped.
        shape: Height and width of the image.
        extent: The foreground's longer side, as a fraction of the image's longer side.
        center: Position of its center of mass, as fractions of height and width.

    Returns:
        The image, 0 to 1.
    """
    from scipy import ndimage

    scale = extent * max(shape) / max(ink.shape)
    height, width = (max(1, round(scale * side)) for side in ink.shape)
    height, width = min(height, shape[0]), min(width, shape[1])
    scaled = Image.fromarray(ink).resize((width, height), Image.Resampling.BICUBIC)
    foreground = np.asarray(scaled).clip(0, 1)
    # A thin stroke has faded
    foreground = (foreground / max(np.percentile(foreground, 95), 1e-6)).clip(0, 1)
    middle = np.array(ndimage.center_of_mass(foreground)) + 0.5
    corner = np.round(np.multiply(center, shape) - middle).astype(int)
    top, left = corner.clip(0, [shape[0] - height, shape[1] - width])
    image = np.zeros(shape, np.float32)
    image[top : top + height, left : left + width] = foreground
    return image

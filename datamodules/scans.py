"""Figures on paper: separated from it, and set in a frame like the training images' figures."""

from typing import NamedTuple

import numpy as np
from PIL import Image

LARGEST = 800  # Pixels of a scan's longer side; a larger one is reduced first.
LEAST_CONTRAST = 4.0  # Between figure and paper, in standard deviations within each of the two.
SPECK = 0.02  # A part smaller than this share of the largest one is dirt.
EDGE = 0.6  # A part that fills more than this share of a side is the scan's edge.

Pixels = np.ndarray  # float32 (H, W)


class Scan(NamedTuple):
    """A figure found on paper of one colour."""

    ink: Pixels  # 0 on paper to 1 in the middle of a stroke, cropped to the figure
    light: bool  # the figure is darker than the paper


def otsu(values: Pixels) -> float:
    """Returns the threshold that separates values best into two groups (Otsu 1979)."""
    counts, edges = np.histogram(values, 256)
    levels = (edges[:-1] + edges[1:]) / 2
    below, sums = counts.cumsum()[:-1], (counts * levels).cumsum()
    above = counts.sum() - below
    with np.errstate(divide="ignore", invalid="ignore"):
        means = sums[:-1] / below, (sums[-1] - sums[:-1]) / above
        between = np.nan_to_num(below * above * (means[1] - means[0]) ** 2)
    return float(edges[1:-1][between >= between.max() * (1 - 1e-9)].mean())  # middle of a gap


def find_figure(image: Image.Image) -> Scan | None:
    """Finds a figure on paper under uneven light; None if nothing stands out.

    The paper's brightness is a quadratic function of the place, fitted to the pixels that are not
    ink. Otsu's threshold of the differences from it separates the ink.
    """
    from scipy import ndimage

    image = image.convert("L")
    if max(image.size) > LARGEST:
        image = image.copy()
        image.thumbnail((LARGEST, LARGEST), Image.Resampling.BOX)
    pixels = np.asarray(image, np.float32)
    smooth = ndimage.gaussian_filter(pixels, max(image.size) / 400)
    is_paper = np.ones(pixels.shape, bool)
    for _ in range(4):
        paper = _fit_paper(smooth, is_paper)
        difference = smooth - paper
        threshold = otsu(difference)
        light = bool(np.median(border(difference)) > threshold)
        is_paper = (difference > threshold) == light
    if is_paper.all() or not is_paper.any():
        return None
    sign = -1 if light else 1
    ink, threshold = sign * (pixels - paper), sign * threshold
    groups = [sign * difference[part] for part in (is_paper, ~is_paper)]
    spread = np.sqrt(np.average([part.var() for part in groups], weights=[*map(len, groups)]))
    if groups[1].mean() - groups[0].mean() < LEAST_CONTRAST * spread:
        return None
    figure = _without_dirt(~is_paper)
    full, nothing = np.percentile(ink[figure], 75), groups[0].mean()
    low = (threshold + nothing) / 2
    ink = ((ink - low) / max(full - low, 1e-6)).clip(0, 1) * ndimage.binary_dilation(figure)
    rows, columns = (np.flatnonzero(figure.any(axis)) for axis in (1, 0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return Scan(ink[box].astype(np.float32), light)


def _without_dirt(ink: np.ndarray) -> np.ndarray:
    """Returns ink (H, W) without specks and without the dark edges of a scan."""
    from scipy import ndimage

    parts, count = ndimage.label(ink, np.ones((3, 3)))
    areas = np.bincount(parts.ravel(), minlength=count + 1)
    areas[0] = 0  # paper
    along = np.zeros(count + 1, bool)
    for side in (parts[0], parts[-1], parts[:, 0], parts[:, -1]):
        along |= np.bincount(side, minlength=count + 1) > EDGE * len(side)
    if (inner := np.where(along, 0, areas)).max() > SPECK * areas.max():
        areas = inner
    return ((areas > 0) & (areas >= SPECK * areas.max()))[parts]


def border(pixels: Pixels) -> np.ndarray:
    """Returns the outermost pixels (..., 2 H + 2 W - 4) of images (..., H, W)."""
    top, bottom, sides = pixels[..., 0, :], pixels[..., -1, :], pixels[..., 1:-1, :]
    return np.concatenate([top, bottom, sides[..., 0], sides[..., -1]], axis=-1)


def _fit_paper(pixels: Pixels, is_paper: np.ndarray) -> Pixels:
    """Fits a quadratic function of the place to the pixels of the paper."""
    height, width = pixels.shape
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    step = max(1, is_paper.sum() // 20_000)  # As many pixels are enough.
    found = np.linalg.lstsq(terms[is_paper][::step], pixels[is_paper][::step], rcond=None)[0]
    return terms @ found


def place(
    ink: Pixels, shape: tuple[int, int], extent: float, centre: tuple[float, float]
) -> Pixels:
    """Scales a figure to an extent and places it in an image by its centre of mass, as MNIST was.

    Args:
        ink: The figure, 0 to 1, cropped.
        shape: Height and width of the image.
        extent: The figure's longer side, as a share of the image's longer side.
        centre: Where its centre of mass is to be, as shares of height and width.

    Returns:
        The image, 0 to 1.
    """
    scale = extent * max(shape) / max(ink.shape)
    size = [
        min(limit, max(1, round(scale * side)))
        for side, limit in zip(ink.shape, shape, strict=True)
    ]
    scaled = Image.fromarray(ink).resize(size[::-1], Image.Resampling.BICUBIC)
    figure = np.asarray(scaled).clip(0, 1)
    figure = (figure / max(np.percentile(figure, 95), 1e-6)).clip(0, 1)  # a thin stroke has faded
    corner = []
    for axis, (side, limit) in enumerate(zip(size, shape, strict=True)):
        profile = figure.sum(1 - axis)
        mass = (profile * (np.arange(side) + 0.5)).sum() / max(profile.sum(), 1e-6)
        corner.append(min(max(round(centre[axis] * limit - mass), 0), limit - side))
    image = np.zeros(shape, np.float32)
    image[corner[0] : corner[0] + size[0], corner[1] : corner[1] + size[1]] = figure
    return image

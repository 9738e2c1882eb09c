"""Scikit-learn's 8 x 8 digits in the style of MNIST, for machines without a network."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.base import Split

INK = 0.6  # level of the strokes' edge, at which their mean brightness is that of MNIST, 0.13
SHARPNESS = 14.0
MNIST_MARGIN = 4  # MNIST's digits are 20 x 20 pixels in a frame of 28 x 28


@cache  # takes 2 s
def load_digits() -> tuple[Split, Split]:
    """Loads the digits as uint8 (N, 1, 28, 28): 1,437 to train and 360 to test."""
    from sklearn.datasets import load_digits as load
    from sklearn.model_selection import train_test_split

    digits = load()
    small = torch.from_numpy(digits.images).float().unsqueeze(1) / 16  # (N, 1, 8, 8) in [0, 1]
    images = (as_mnist_digits(small) * 255).round().to(torch.uint8)
    labels = torch.from_numpy(digits.target).long()
    train, test, train_labels, test_labels = train_test_split(
        images, labels, test_size=0.2, random_state=0, stratify=digits.target
    )
    return Split(train, train_labels), Split(test, test_labels)


def as_mnist_digits(small: Tensor) -> Tensor:
    """Redraws digits (N, 1, 8, 8) in [0, 1] with sharp strokes: (N, 1, 28, 28) in [0, 1].

    A smooth enlargement to 80 x 80 is cut at the level of the strokes' edge and averaged to
    20 x 20. The result is centered by its mass, as MNIST's digits are (LeCun et al. 1998).
    """
    large = F.interpolate(small, (80, 80), mode="bicubic")
    window = torch.hann_window(11, periodic=False)[1:-1]
    kernel = torch.outer(window, window)
    smooth = F.conv2d(F.pad(large, [4] * 4, mode="replicate"), (kernel / kernel.sum())[None, None])
    strokes = F.avg_pool2d(((smooth - INK) * SHARPNESS).sigmoid(), 4)
    return torch.stack([_centered(image) for image in F.pad(strokes, [MNIST_MARGIN] * 4)])


def _centered(image: Tensor) -> Tensor:
    """Shifts an image (1, H, W) by whole pixels, so that its center of mass is in the middle."""
    shifts = []
    for side, weights in ((0, image[0].sum(dim=1)), (1, image[0].sum(dim=0))):
        middle = (image.shape[side + 1] - 1) / 2
        mass = (weights * torch.arange(len(weights))).sum() / weights.sum()
        shifts.append(round(middle - mass.item()))
    return image.roll(shifts, dims=(1, 2))

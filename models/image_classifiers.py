"""A classifier of images, and label-preserving augmentations for whole batches of images."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms.v2.functional import rgb_to_grayscale

from models.base import NetworkCallable
from models.classifier import Classifier
from models.distributed import draw_local
from models.networks import IMAGES, ResidualConvNet
from runtime.ranges import Fraction, NonNegative, NonNegativeFloat


class ImageClassifier(Classifier):
    """A classifier with random augmentation of its training images.

    Args:
        input_shape: (C, H, W) of the images.
        num_classes: Number of classes.
        network: From (input_shape, num_outputs) to the network.
        shift: Largest shift, in pixels.
        rotation: Largest rotation about the center, in degrees.
        zoom: Largest relative change of height and of width, independent of each other.
        shear: Largest slant, in columns per row of distance from the center.
        flip: Mirror every other image, left to right; `auto`: follow `mirrors`.
        crop: Largest fraction of an image's area that a random crop cuts off. The crop has between
            3:4 and 4:3 of the image's proportions, and is enlarged to its size (Szegedy et al.
            2015).
        brightness: Largest relative change of all values.
        contrast: Largest relative change of the distance from the image's mean gray.
        saturation: Largest relative change of the distance from each pixel's gray.
        augmentation: A module of your own, from a batch of training images (B, C, H, W), after all
            of the above, to images of the same shape.
        flip_in_evaluation: With `flip`, average the logits of each image and its mirror image.
        shift_in_evaluation: Test-time augmentation: average the logits over all shifts by up to
            this number of pixels; 1: nine shifts, which takes nine times as long.
        erase: Side in pixels of a square set to 0, anywhere.
        mirrors: The value for `flip: auto`, set by the data: true for clothes, false for digits.
        **classifier: As for `Classifier`.
    """

    removed_options = {"mixup": 0.0, "cutmix": 0.0}

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_classes: int,
        network: NetworkCallable = ResidualConvNet,
        shift: NonNegativeFloat = 0.0,
        rotation: NonNegativeFloat = 0.0,
        zoom: Fraction = 0.0,
        shear: NonNegativeFloat = 0.0,
        flip: bool | Literal["auto"] = False,
        flip_in_evaluation: bool = False,
        shift_in_evaluation: NonNegative = 0,
        erase: NonNegative = 0,
        crop: Fraction = 0.0,
        brightness: Fraction = 0.0,
        contrast: Fraction = 0.0,
        saturation: Fraction = 0.0,
        augmentation: Callable[[], nn.Module] | None = None,
        mirrors: bool = False,
        **classifier: Any,
    ) -> None:
        remedy = "choose a data set of images, or the model Classifier"
        IMAGES.check(input_shape, "ImageClassifier", remedy)
        super().__init__(input_shape, num_classes, network, **classifier)
        mirrored = mirrors if flip == "auto" else bool(flip)
        color = (brightness, contrast, saturation)
        self.augmentation = Augmentation(shift, rotation, zoom, shear, mirrored, erase, crop, color)
        self.own_augmentation = augmentation() if augmentation else None
        self.flip_in_evaluation = flip_in_evaluation and mirrored
        self.shift_in_evaluation = shift_in_evaluation

    def forward(self, inputs: Tensor) -> Tensor:
        """Images (B, C, H, W) -> logits (B, K); in evaluation, the mean over an image's views."""
        if self.training:
            return super().forward(inputs)
        images = [inputs, inputs.flip(3)] if self.flip_in_evaluation else [inputs]
        views = [moved for image in images for moved in self._moved(image)]
        return reduce(torch.add, map(super().forward, views)) / len(views)

    def _moved(self, images: Tensor) -> list[Tensor]:
        """Returns images (B, C, H, W) at all shifts, padded with zeros."""
        largest = self.shift_in_evaluation
        if not largest:
            return [images]
        height, width = images.shape[2:]
        padded, steps = F.pad(images, [largest] * 4), range(2 * largest + 1)
        return [padded[:, :, y : y + height, x : x + width] for y in steps for x in steps]

    def augment(self, inputs: Tensor, targets: Tensor) -> Tensor:
        images = self.augmentation(inputs)
        return images if self.own_augmentation is None else self.own_augmentation(images)


@dataclass(frozen=True)
class Augmentation:
    """Moves, deforms and colors images at random; each amount is uniform in both directions.

    Random numbers come from torch's global generator of the images' device, for the global batch.
    For the amounts see `ImageClassifier`.
    """

    shift: float = 0.0
    rotation: float = 0.0
    zoom: float = 0.0
    shear: float = 0.0
    flip: bool = False
    erase: int = 0
    crop: float = 0.0
    color: tuple[float, float, float] = (0.0, 0.0, 0.0)  # brightness, contrast, saturation

    def __call__(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        if self.shift or self.rotation or self.zoom or self.shear or self.flip or self.crop:
            images = transform(images, self.draw_matrices(images))
        if any(self.color):
            random = draw_local(torch.rand, len(images), 3, device=images.device) * 2 - 1
            images = recolor(images, 1 + random * random.new_tensor(self.color))
        return erase(images, self.erase) if self.erase else images

    def draw_matrices(self, images: Tensor) -> Tensor:
        """Draws random matrices (B, 2, 3) for `transform`."""
        count, device = len(images), images.device
        random = draw_local(_rand_by_number, count, 6, device=device).T * 2 - 1
        angle = random[0] * math.radians(self.rotation)
        cos, sin, shear = angle.cos(), angle.sin(), random[1] * self.shear
        across, down = 1 + random[2] * self.zoom, 1 + random[3] * self.zoom
        if self.flip:
            across = across * torch.where(
                draw_local(torch.rand, count, device=device) < 0.5, -1.0, 1.0
            )
        x, y = random[4] * self.shift, random[5] * self.shift
        if self.crop:
            random = draw_local(torch.rand, count, 4, device=device).T
            area, ratio = 1 - self.crop * random[0], (4 / 3) ** (2 * random[1] - 1)
            width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
            across, down = across * width, down * height
            x = x + (1 - width) * (random[2] - 0.5) * images.shape[3]
            y = y + (1 - height) * (random[3] - 0.5) * images.shape[2]
        rows = [
            torch.stack([cos * across, (cos * shear - sin) * down, x], dim=1),
            torch.stack([sin * across, (sin * shear + cos) * down, y], dim=1),
        ]
        return torch.stack(rows, dim=1)


def _rand_by_number(shape: tuple[int, int], device: torch.device) -> Tensor:
    """Draws (N, 6), all of the first number first, as the first version of this project did."""
    return torch.rand(shape[::-1], device=device).T


def transform(images: Tensor, matrices: Tensor) -> Tensor:
    """Resamples images (B, C, H, W), bilinearly, with zeros beyond the edges.

    The matrices (B, 2, 3) map each pixel of the result to its origin in the image, both in pixels
    right of and below the center.
    """
    height, width = images.shape[2:]
    with torch.autocast(images.device.type, enabled=False):  # bf16 cannot tell pixels apart
        half = torch.tensor([width / 2, height / 2], device=images.device)
        scale = torch.cat([half, half.new_ones(1)])
        matrices = matrices * scale / half.view(2, 1)  # pixels -> [-1, 1]
        grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, padding_mode="zeros", align_corners=False)


def recolor(images: Tensor, factors: Tensor) -> Tensor:
    """Changes brightness, contrast and saturation of images (B, C, H, W) by factors (B, 3).

    Like `adjust_brightness`, `adjust_contrast` and `adjust_saturation` of torchvision, which take
    one factor for all images.
    """
    gray = rgb_to_grayscale if images.shape[1] == 3 else partial(torch.mean, dim=1, keepdim=True)
    brightness, contrast, saturation = factors.T[..., None, None, None]
    images = (images * brightness).clamp(0, 1)
    mean = gray(images).mean(dim=(1, 2, 3), keepdim=True)
    images = torch.lerp(mean, images, contrast).clamp(0, 1)
    return torch.lerp(gray(images), images, saturation).clamp(0, 1)


def erase(images: Tensor, size: int) -> Tensor:
    """Sets a square anywhere in each image (B, C, H, W) to 0: DeVries and Taylor 2017, cutout."""
    height, width = images.shape[2:]
    count, device = len(images), images.device
    top = draw_local(partial(torch.randint, height), count, 1, device=device) - size // 2
    left = draw_local(partial(torch.randint, width), count, 1, device=device) - size // 2
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    in_rows = (rows >= top) & (rows < top + size)  # (B, H)
    in_columns = (columns >= left) & (columns < left + size)  # (B, W)
    inside = in_rows[:, :, None] & in_columns[:, None, :]
    return images.masked_fill(inside[:, None], 0.0)

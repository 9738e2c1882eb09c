"""A classifier of images, which augments its training images."""

from functools import reduce
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from models.augmentation import Augmentation
from models.base import NetworkCallable
from models.classifier import Classifier
from models.networks import IMAGES, ResidualConvNet
from runtime.ranges import NonNegative, NonNegativeFloat, Share


class ImageClassifier(Classifier):
    """A classifier that moves and deforms its training images at random.

    Args:
        input_shape: (C, H, W) of the images.
        num_classes: Number of classes.
        network: From (input_shape, num_outputs) to the network.
        shift: Largest shift, in pixels.
        rotation: Largest rotation, in degrees.
        zoom: Largest relative change of height and of width.
        shear: Largest slant, in columns per row.
        flip: Mirror every other image, left to right; `auto`: follow `mirrors`.
        flip_in_evaluation: With `flip`, average the logits of each image and its mirror image.
        shift_in_evaluation: Average the logits of each image and its copies that are moved by up to
            so many pixels; 1: of nine, which takes nine times as long.
        erase: Side in pixels of a square set to 0.
        mirrors: The data set's answer to `flip: auto`: yes for clothes, no for digits.
        **classifier: As for `Classifier`.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_classes: int,
        network: NetworkCallable = ResidualConvNet,
        shift: NonNegativeFloat = 0.0,
        rotation: NonNegativeFloat = 0.0,
        zoom: Share = 0.0,
        shear: NonNegativeFloat = 0.0,
        flip: bool | Literal["auto"] = False,
        flip_in_evaluation: bool = False,
        shift_in_evaluation: NonNegative = 0,
        erase: NonNegative = 0,
        mirrors: bool = False,
        **classifier: Any,
    ) -> None:
        remedy = "choose a data set of images, or the model Classifier"
        IMAGES.check(input_shape, "ImageClassifier", remedy)
        super().__init__(input_shape, num_classes, network, **classifier)
        mirrored = mirrors if flip == "auto" else bool(flip)
        self.augmentation = Augmentation(shift, rotation, zoom, shear, mirrored, erase)
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
        """Returns images (B, C, H, W) at all shifts, with zeros where nothing moves in."""
        largest = self.shift_in_evaluation
        if not largest:
            return [images]
        height, width = images.shape[2:]
        padded, steps = F.pad(images, [largest] * 4), range(2 * largest + 1)
        return [padded[:, :, y : y + height, x : x + width] for y in steps for x in steps]

    def augment(self, inputs: Tensor, targets: Tensor) -> Tensor:
        return self.augmentation(inputs)

"""A classifier of images, which augments its training images."""

from typing import Any, Literal

from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor

from models.augmentation import Augmentation
from models.base import NetworkCallable
from models.classifier import Classifier
from models.networks import ResidualConvNet
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
        erase: NonNegative = 0,
        mirrors: bool = False,
        **classifier: Any,
    ) -> None:
        if len(input_shape) != 3:
            raise MisconfigurationException(
                f"ImageClassifier takes images (C, H, W), and the data have shape "
                f"{tuple(input_shape)}: choose a data set of images, or the model Classifier"
            )
        super().__init__(input_shape, num_classes, network, **classifier)
        self.flip_in_evaluation = flip_in_evaluation
        mirrored = mirrors if flip == "auto" else bool(flip)
        self.augmentation = Augmentation(shift, rotation, zoom, shear, mirrored, erase)

    def forward(self, inputs: Tensor) -> Tensor:
        logits = super().forward(inputs)
        if self.training or not (self.flip_in_evaluation and self.augmentation.flip):
            return logits
        return (logits + super().forward(inputs.flip(3))) / 2

    def augment(self, inputs: Tensor, targets: Tensor) -> Tensor:
        return self.augmentation(inputs)

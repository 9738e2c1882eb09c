"""Classifiers of 28 x 28 images: fully connected, and convolutional."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from models.augmentation import Augmentation
from models.classifier import Classifier
from models.networks import lecture_convnet, mlp, modern_convnet


class ImageClassifier(Classifier):
    """A classifier that moves and deforms its training images at random.

    Args:
        shift: Largest shift, in pixels.
        rotation: Largest rotation, in degrees.
        zoom: Largest relative change of height and of width.
        shear: Largest slant, in columns a row.
        flip: Mirror every other image, left to right; None: where the data module says that its
            images bear it (`mirrors`), as clothes do and digits do not.
        flip_in_evaluation: Where training images are mirrored, average the logits of each image
            and of its mirror image.
        erase: Size in pixels of a square set to 0.
        **classifier: As for `Classifier`.
    """

    def __init__(
        self,
        shift: float = 0.0,
        rotation: float = 0.0,
        zoom: float = 0.0,
        shear: float = 0.0,
        flip: bool | None = False,
        flip_in_evaluation: bool = False,
        erase: int = 0,
        **classifier: Any,
    ) -> None:
        super().__init__(**classifier)
        self.flip, self.flip_in_evaluation = flip, flip_in_evaluation
        self.augmentation = Augmentation(shift, rotation, zoom, shear, bool(flip), erase)

    def setup(self, stage: str) -> None:
        if self.flip is None:
            mirrors = getattr(getattr(self.trainer, "datamodule", None), "mirrors", False)
            self.augmentation = replace(self.augmentation, flip=mirrors)

    def forward(self, inputs: Tensor) -> Tensor:
        logits = super().forward(inputs)
        if self.training or not (self.flip_in_evaluation and self.augmentation.flip):
            return logits
        return (logits + super().forward(inputs.flip(3))) / 2

    def augment(self, inputs: Tensor, targets: Tensor) -> Tensor:
        return self.augmentation(inputs)


class MNISTDense(ImageClassifier):
    """Pixels -> fully connected layers -> digit; with the defaults, the lecture's.

    Args:
        hidden: Units of each hidden layer.
        activation: Of the hidden layers, see `models.networks.activation`.
        dropout: Share of hidden units that rest in a training step.
        batch_norm: Normalise each hidden layer before its activation.
        num_classes: Number of classes.
        **classifier: As for `ImageClassifier`.
    """

    def __init__(
        self,
        hidden: Sequence[int] = (128, 128),
        activation: str = "sigmoid",
        dropout: float = 0.0,
        batch_norm: bool = False,
        num_classes: int = 10,
        **classifier: Any,
    ) -> None:
        super().__init__(**classifier)
        sizes = [28 * 28, *hidden, num_classes]
        network = mlp(sizes, activation, dropout, batch_norm)
        self.set_network(network, input_shape=(1, 28, 28), classes=num_classes)


class MNISTConv(ImageClassifier):
    """A convolutional network from images to digits.

    Args:
        architecture: `lecture`, one convolution and a dense layer as on the slides, or `modern`,
            a small residual network.
        width: Channels of the modern network's first layer.
        dropout: Share of the modern network's features that rest in a training step.
        num_classes: Number of classes.
        **classifier: As for `ImageClassifier`.
    """

    def __init__(
        self,
        architecture: Literal["lecture", "modern"] = "modern",
        width: int = 32,
        dropout: float = 0.0,
        num_classes: int = 10,
        **classifier: Any,
    ) -> None:
        super().__init__(**classifier)
        if architecture == "lecture":  # it flattens at once, in the default layout
            network, memory_format = lecture_convnet(num_classes), torch.contiguous_format
        else:
            network = modern_convnet(width, num_classes, dropout)
            memory_format = torch.channels_last
        self.set_network(network, (1, 28, 28), num_classes, memory_format)

"""VGG-16, the lecture's example of a realistic network."""

from typing import Any

from torch import nn

from models.image_classifiers import ImageClassifier
from models.networks import VGG16, PadTo, vgg


class VGG(ImageClassifier):
    """13 convolutions and 3 dense layers (Simonyan and Zisserman 2014), here for small images.

    Args:
        width: Factor on all channels; 1 is VGG-16's own, 0.25 takes a sixteenth of the work.
        hidden: Units of the two hidden dense layers, before the factor.
        batch_norm: Normalise after each convolution, without which it hardly starts to learn.
        dropout: Share of the hidden dense units that rest in a training step.
        num_classes: Number of classes.
        image_size: Images are padded with zeros to this height and width.
        **classifier: As for `ImageClassifier`.
    """

    def __init__(
        self,
        width: float = 1.0,
        hidden: int = 4096,
        batch_norm: bool = True,
        dropout: float = 0.5,
        num_classes: int = 10,
        image_size: int = 32,
        **classifier: Any,
    ) -> None:
        super().__init__(**classifier)
        network = vgg(
            VGG16,
            image_size=image_size,
            hidden=hidden,
            num_classes=num_classes,
            batch_norm=batch_norm,
            dropout=dropout,
            width=width,
        )
        padded = nn.Sequential(PadTo(image_size), *network)
        self.set_network(padded, input_shape=(1, 28, 28), classes=num_classes)

"""The networks of the GANs: generators, and discriminators as a trunk of features with a head."""

from typing import Literal

import torch
from torch import Tensor, nn

from models.layers import Dropout, MaxPool2d, Unflatten, UpsampleConv2d

Architecture = Literal["lecture", "modern"]


def lecture_generator(input_dim: int) -> nn.Sequential:
    """The lecture's generator: `input_dim` features -> (1, 28, 28) in [0, 1]."""
    return nn.Sequential(
        nn.Linear(input_dim, 1024),
        nn.Tanh(),
        nn.Linear(1024, 128 * 7 * 7),
        nn.BatchNorm1d(128 * 7 * 7, eps=1e-3, momentum=0.01),  # Keras' defaults
        nn.Tanh(),
        Unflatten(1, (128, 7, 7)),
        UpsampleConv2d(128, 64, 5),  # 14 x 14
        nn.Tanh(),
        UpsampleConv2d(64, 1, 5),  # 28 x 28
        nn.Sigmoid(),
    )


def modern_generator(input_dim: int, width: int) -> nn.Sequential:
    """`input_dim` features -> (1, 28, 28) in [0, 1]; batch norm and ReLU after every layer."""
    return nn.Sequential(
        nn.Linear(input_dim, 2 * width * 7 * 7, bias=False),
        Unflatten(1, (2 * width, 7, 7)),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        UpsampleConv2d(2 * width, width, 5),  # 14 x 14
        nn.BatchNorm2d(width),
        nn.ReLU(),
        UpsampleConv2d(width, 1, 5),  # 28 x 28
        nn.Sigmoid(),
    )


def lecture_trunk(channels: int, activation: type[nn.Module]) -> nn.Sequential:
    """The lecture's discriminators up to their last layer: (1, 28, 28) -> 1024 features.

    Max pooling stands before the activation, not after as on the slides: for a monotone
    activation the values and gradients are the same, at a quarter of the activations.
    """
    return nn.Sequential(
        nn.Conv2d(1, channels, 5, padding=2),
        MaxPool2d(2),  # 14 x 14
        activation(),
        nn.Conv2d(channels, 2 * channels, 5),  # 10 x 10
        MaxPool2d(2),  # 5 x 5
        activation(),
        Dropout(0.5),
        nn.Flatten(),
        nn.Linear(2 * channels * 5 * 5, 1024),
        nn.Tanh(),
    )


def modern_trunk(width: int) -> nn.Sequential:
    """Strided convolutions without normalisation: (1, 28, 28) -> 64 * width features."""
    return nn.Sequential(
        nn.Conv2d(1, width, 4, stride=2, padding=1),  # 14 x 14
        nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),  # 7 x 7
        nn.LeakyReLU(0.2),
        nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1),  # 4 x 4
        nn.LeakyReLU(0.2),
        nn.Flatten(),
    )


class Discriminator(nn.Module):
    """How likely an image is real, as one logit."""

    def __init__(self, trunk: nn.Module, num_features: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.realness = nn.Linear(num_features, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1, 28, 28) -> logits (B,)."""
        return full_precision(self.realness(self.trunk(images)).squeeze(1))


class KPlusOneDiscriminator(nn.Module):
    """The lecture's 11 outputs: class 0 is "fake", class k + 1 is the digit k."""

    def __init__(self, trunk: nn.Module, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.classes = nn.Linear(num_features, num_classes + 1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1, 28, 28) -> logits (B, 1 + num_classes)."""
        return full_precision(self.classes(self.trunk(images)))


class TwoHeadedDiscriminator(nn.Module):
    """How likely an image is real, and which class it shows (AC-GAN, Odena et al. 2016).

    With `projection`, realness is judged for the class that was asked for: the features' product
    with the class's embedding is added to the logit (Miyato and Koyama 2018, eq. 4).
    """

    def __init__(
        self, trunk: nn.Module, num_features: int, num_classes: int, projection: bool
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.realness = nn.Linear(num_features, 1)
        self.classes = nn.Linear(num_features, num_classes)
        self.embedding = nn.Embedding(num_classes, num_features) if projection else None
        if self.embedding is not None:
            nn.init.zeros_(self.embedding.weight)  # starts as a discriminator blind to the class

    def forward(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, 1, 28, 28), labels (B,) -> realness (B,), class logits (B, num_classes)."""
        features = self.trunk(images)
        realness = full_precision(self.realness(features).squeeze(1))
        if self.embedding is not None:
            realness = realness + (self.embedding(labels) * features).sum(dim=1)
        return realness, full_precision(self.classes(features))


def glorot_(network: nn.Module) -> nn.Module:
    """Initialises as Keras does: Glorot-uniform weights, zero biases (Glorot and Bengio 2010)."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | UpsampleConv2d):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network


def full_precision(logits: Tensor) -> Tensor:
    """At least float32, which losses need: mixed precision ends at the last layer."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))

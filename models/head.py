"""Base class of a discriminator's heads, and the parts that heads share."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from runtime.errors import UserError

Stats = dict[str, Tensor]
Examples = tuple[Tensor, Tensor]  # images (B, C, H, W), labels (B,)


class Head(nn.Module, ABC):
    """A discriminator with its losses. Labels (B,) are None for a GAN without classes.

    Args:
        trunk: From images (B, C, H, W) to features (B, num_features).
        num_features: Number of features.
        num_classes: Number of classes, or None.
    """

    takes_classes = True
    pairs = False  # the generator's loss needs real images as well

    def __init__(self, trunk: nn.Module, num_features: int, num_classes: int | None) -> None:
        super().__init__()
        if self.takes_classes != (num_classes is not None):
            model = "ConditionalGAN or SelfConditionedGAN" if self.takes_classes else "GAN"
            raise UserError(
                f"model.head: {type(self).__name__} is for model.class_path {model}: choose that "
                "model or another head"
            )
        self.trunk = trunk

    @abstractmethod
    def discriminator_loss(
        self, real: Tensor, real_labels: Tensor, fake: Tensor, fake_labels: Tensor | None
    ) -> tuple[Tensor, Stats]:
        """Computes the loss on as many real as fake images, and D's accuracy on each."""

    @abstractmethod
    def generator_loss(
        self, fake: Tensor, labels: Tensor | None, real: Examples | None = None
    ) -> tuple[Tensor, Stats]:
        """Computes the generator's loss on its images, and how many of them D takes for real.

        Real images are given only to a head that `pairs`.
        """

    @abstractmethod
    def real_logits(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """Computes the logits (B,) for "these images are real"."""

    @abstractmethod
    def evaluate(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Computes loss and accuracy on real images alone, as the slides print them."""


HeadCallable = Callable[[nn.Module, int, int | None], Head]


def full_precision(logits: Tensor) -> Tensor:
    """Converts logits to float32 at least: mixed precision ends at the last layer."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def share(hits: Tensor) -> Tensor:
    """Returns the share of True in a batch (B,) of booleans."""
    return hits.float().mean()

"""Discriminators that are conditioned on the class."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.gan.discriminator import LossCallable, NonSaturating, PlainDiscriminator
from models.layers import BatchAware, full_precision
from runtime.ranges import NonNegative, NonNegativeFloat


class ACGANDiscriminator(PlainDiscriminator):
    """Two outputs: real or not, and which class (AC-GAN, Odena et al. 2016).

    Args:
        loss: The adversarial loss.
        class_weight: Weight of the class loss, 1 in AC-GAN.
    """

    takes_classes = True

    def __init__(
        self,
        trunk: nn.Module,
        num_features: int,
        num_classes: int | None,
        loss: LossCallable = NonSaturating,
        class_weight: NonNegativeFloat = 1.0,
    ) -> None:
        super().__init__(trunk, num_features, num_classes, loss)
        self.class_weight = class_weight
        self.classes = nn.Linear(num_features, num_classes or 0)

    def forward(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        features = self.trunk(images)
        realness = full_precision(self.realness(features).squeeze(1))
        return realness + self.match(features, labels), full_precision(self.classes(features))

    def match(self, features: Tensor, labels: Tensor | None) -> Tensor | float:
        """Returns how well features fit the requested class, added to the realness."""
        return 0.0


class ProjectionDiscriminator(BatchAware, ACGANDiscriminator):
    """An AC-GAN's discriminator plus a projection on the class, w.f(x) + b + e_y.f(x).

    e_y is the embedding of class y (Miyato and Koyama 2018, equation 4). The logits of classes
    stay: with the weight `class_weight`, D learns the classes of real images, and G those of fakes.

    Args:
        nearness: Number of learned distances between an image and the others of its class in the
            batch. Their sum is added to its realness, so D detects images of a class that are too
            similar (minibatch discrimination, Salimans et al. 2016, within each class); 0: none.
        **options: `loss` and `class_weight`, as for `ACGANDiscriminator`.
    """

    def __init__(
        self,
        trunk: nn.Module,
        num_features: int,
        num_classes: int | None,
        nearness: NonNegative = 0,
        **options: Any,
    ) -> None:
        super().__init__(trunk, num_features, num_classes, **options)
        self.embedding = ClassProjection(num_features, num_classes or 0)
        self.measures = None
        if nearness:
            self.measures = nn.Linear(num_features, nearness, bias=False)
            self.nearness = ClassProjection(nearness, num_classes or 0)

    def match(self, features: Tensor, labels: Tensor | None) -> Tensor:
        assert labels is not None
        matches: Tensor = self.embedding(features, labels)
        if self.measures is None:
            return matches
        measures = full_precision(self.measures(features))
        return matches + self.nearness(
            nearness_within_classes(measures, labels, self.joined), labels
        )


class ClassProjection(nn.Module):
    """Multiplies features (B, F) by an embedding of the class, which is 0 at the start.

    Args:
        num_features: Number of features F.
        num_classes: Number of classes.
    """

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_classes, num_features))

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Features (B, F), labels (B,) -> products (B,)."""
        # One matrix product with all classes is faster than a product for each image. bf16 has too
        # few digits: many images would get the same number.
        with torch.autocast(features.device.type, enabled=False):
            products = F.linear(features.to(self.weight.dtype), self.weight)
        return products.gather(1, labels[:, None]).squeeze(1)


def nearness_within_classes(measures: Tensor, labels: Tensor, joined: int = 1) -> Tensor:
    """Returns the mean of exp(-distance) to the other images of the same class and batch.

    Args:
        measures: (B, M); each of the M is compared alone.
        labels: (B,).
        joined: Number of batches that this one consists of. Their images are not compared.

    Returns:
        (B, M), 0 for an image whose class has no other.
    """
    parts = measures.unflatten(0, (joined, -1))  # (S, N, M)
    classes = labels.unflatten(0, (joined, -1))  # (S, N)
    near = (-(parts[:, :, None] - parts[:, None]).abs()).exp()  # (S, N, N, M)
    others = (classes[:, :, None] == classes[:, None]).to(near.dtype)
    others = others - torch.eye(others.shape[1], dtype=near.dtype, device=near.device)
    total = (near * others[..., None]).sum(dim=2)  # a matrix product would be in bf16 precision
    return (total / others.sum(dim=2, keepdim=True).clamp(min=1)).flatten(0, 1)

"""Parts of a head that know the class: a projection, and the nearness of images of a class."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.distributed import split_sets


class ClassProjection(nn.Module):
    """Multiplies features by an embedding of the class. It starts at 0: blind to the class.

    Args:
        num_features: Number of features F.
        num_classes: Number of classes.
    """

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_classes, num_features))

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Features (B, F), labels (B,) -> products (B,)."""
        # All classes in one matrix product take less time than a gradient for each image's vector.
        # In bf16 the products of many images would be the same number.
        with torch.autocast(features.device.type, enabled=False):
            products = F.linear(features.to(self.weight.dtype), self.weight)
        return products.gather(1, labels[:, None]).squeeze(1)


def nearness_within_classes(measures: Tensor, labels: Tensor) -> Tensor:
    """Returns the mean of exp(-distance) to the other images of the same class and set.

    Args:
        measures: (B, M); each of the M is compared alone.
        labels: (B,).

    Returns:
        (B, M), 0 for an image whose class has no other.
    """
    sets, classes = split_sets(measures), split_sets(labels)  # (S, N, M), (S, N)
    near = (-(sets[:, :, None] - sets[:, None]).abs()).exp()  # (S, N, N, M)
    others = (classes[:, :, None] == classes[:, None]).to(near.dtype)
    others = others - torch.eye(others.shape[1], dtype=near.dtype, device=near.device)
    total = (near * others[..., None]).sum(dim=2)  # a matrix product would be in bf16 precision
    return (total / others.sum(dim=2, keepdim=True).clamp(min=1)).flatten(0, 1)

"""Networks for points in the plane, of every generative model."""

import torch
from torch import Tensor, nn

from models.networks import FeedForward, Shapes
from models.unet import time_embedding
from runtime.ranges import Positive

SCALE = 4.0  # factor on coordinates, so that layers can separate close points
PLANE_POINTS = Shapes("points in the plane", ((2,),))
REMEDY = "choose --data Points, or a network of images"


class PlaneGenerator(FeedForward):
    """Features (B, input_dim) -> points (B, 2).

    Args:
        input_dim: Number of features.
        image_shape: (2,).
        hidden: Units of each of two hidden layers.
    """

    def __init__(
        self, input_dim: int, image_shape: tuple[int, ...], hidden: Positive = 128
    ) -> None:
        PLANE_POINTS.check(image_shape, "model: PlaneGenerator", REMEDY)
        super().__init__((input_dim,), 2, (hidden, hidden), "relu")

    def forward(self, features: Tensor) -> Tensor:
        return 0.5 + super().forward(features) / SCALE


class PlaneTrunk(nn.Sequential):
    """Points (B, 2) -> features (B, hidden).

    Args:
        image_shape: (2,).
        hidden: Units of each of two layers.
    """

    def __init__(self, image_shape: tuple[int, ...], hidden: Positive = 128) -> None:
        PLANE_POINTS.check(image_shape, "model: PlaneTrunk", REMEDY)
        super().__init__(*FeedForward((2,), hidden, (hidden,), "relu"), nn.ReLU())

    def forward(self, points: Tensor) -> Tensor:
        return super().forward(SCALE * (2 * points - 1))


class PlaneVelocity(nn.Module):
    """Points (B, 2), times (B,), one-hot classes (B, num_classes) -> points (B, 2), for `Flow`.

    Args:
        image_shape: (2,).
        num_classes: Number of classes; 0: unconditional.
        hidden: Units of each of three hidden layers.
    """

    def __init__(
        self, image_shape: tuple[int, ...], num_classes: int, hidden: Positive = 128
    ) -> None:
        super().__init__()
        PLANE_POINTS.check(image_shape, "model: PlaneVelocity", REMEDY)
        dim = time_embedding(torch.zeros(1)).shape[1] + num_classes
        self.layers = FeedForward((2 + dim,), 2, [hidden] * 3, "relu")

    def forward(self, points: Tensor, times: Tensor, classes: Tensor) -> Tensor:
        """Returns the clean points, as points plus a step that is 0 at t = 1."""
        moves = self.layers(
            torch.cat([SCALE * points, time_embedding(times).to(points), classes], dim=1)
        )
        return points + (1 - times[:, None]) * moves

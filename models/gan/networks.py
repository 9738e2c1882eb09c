"""Networks of the GANs: generators, and trunks, which are discriminators up to their last layer.

A generator is called as `generator(input_dim, image_shape)`, a trunk as `trunk(image_shape)`.
"""

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from models.base import eval_mode
from models.layers import (
    Flatten,
    MinibatchStd,
    Unflatten,
    UpsampleConv2d,
    use_channels_last_,
)
from models.networks import Shapes
from runtime.errors import UserError
from runtime.ranges import NonNegative, Positive

ImageShape = tuple[int, ...]  # (C, H, W), or (2,) of points in the plane
GeneratorCallable = Callable[[int, ImageShape], nn.Module]
TrunkCallable = Callable[[ImageShape], nn.Module]
MODERN_SIDES = range(16, 65, 4)
MODERN_IMAGES = Shapes(
    "images of 1 or 3 channels whose height and width are multiples of 4 from 16 to 64",
    ((1, 3), MODERN_SIDES, MODERN_SIDES),
)
RESIZE = "resize them, or give your own network"


class ModernGenerator(nn.Sequential):
    """Features (B, input_dim) -> images (B, C, H, W) in [0, 1]; batch norm and ReLU.

    Images have 1 or 3 channels, and sides that are multiples of 4 from 16 to 64.

    Args:
        input_dim: Number of features.
        image_shape: (C, H, W).
        width: Channels at half the height and width.
        hidden: Units of each dense layer between the features and the first feature maps. Without
            one, class and style of an image can only be added, not combined.
        skip: Concatenate the features with the output of the hidden layers.
        transposed: Upsample with a transposed 4 x 4 convolution, not with nearest upsampling and a
            5 x 5 convolution: a training step of `configs/cgan.yaml` takes 10 % less time. Without
            `detail`, only in the first of the two upsampling layers.
        detail: Channels of one more layer at full height and width; 0: none. With it, a 3 x 3
            convolution follows each upsampling, for edges and textures.
    """

    def __init__(
        self,
        input_dim: int,
        image_shape: ImageShape,
        width: Positive = 64,
        hidden: Sequence[Positive] = (),
        skip: bool = False,
        transposed: bool = False,
        detail: NonNegative = 0,
    ) -> None:
        MODERN_IMAGES.check(image_shape, "model.generator: ModernGenerator", RESIZE)
        channels, height, rows = image_shape[0], image_shape[1] // 4, image_shape[2] // 4

        def normed(layer: nn.Module, channels: int) -> list[nn.Module]:
            return [layer, nn.BatchNorm2d(channels), nn.ReLU()]

        def double(fan_in: int, fan_out: int) -> nn.Module:
            if transposed:
                return nn.ConvTranspose2d(fan_in, fan_out, 4, stride=2, padding=1)
            return UpsampleConv2d(fan_in, fan_out, 5)

        dense: list[nn.Module] = []
        for fan_in, fan_out in itertools.pairwise([input_dim, *hidden]):
            dense += [nn.Linear(fan_in, fan_out, bias=False), nn.BatchNorm1d(fan_out), nn.ReLU()]
        if skip and not hidden:
            raise UserError(
                "model.generator.skip leads around the hidden layers, and there are none: set "
                "model.generator.hidden, to [256] for example"
            )
        if skip:
            dense = [WithInput(*dense)]
        units = [input_dim, *hidden][-1] + skip * input_dim
        layers = [
            *dense,
            nn.Linear(units, 2 * width * height * rows, bias=False),
            *normed(Unflatten(1, (2 * width, height, rows)), 2 * width),
            *normed(double(2 * width, width), width),  # half the size
        ]
        if detail:
            layers += normed(nn.Conv2d(width, width, 3, padding=1), width)
            layers += normed(double(width, detail), detail)
            layers += [nn.Conv2d(detail, channels, 3, padding=1)]
        else:
            layers += [UpsampleConv2d(width, channels, 5)]
        super().__init__(*layers, nn.Sigmoid())
        use_channels_last_(self)


class WithInput(nn.Sequential):
    """Concatenates the output of layers (B, N) -> (B, M) with their input: (B, N) -> (B, M + N)."""

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.cat([super().forward(inputs), inputs], dim=1)


class ModernTrunk(nn.Sequential):
    """Three strided convolutions without normalization: (B, C, H, W) -> features (B, F).

    Takes the images of `ModernGenerator`.

    Args:
        image_shape: (C, H, W).
        width: Channels of the first strided layer.
        detail: Channels of a 3 x 3 convolution at full height and width, before it; 0: none.
        minibatch_std: Add a channel with the standard deviation over the batch (`MinibatchStd`).
    """

    def __init__(
        self,
        image_shape: ImageShape,
        width: Positive = 64,
        detail: NonNegative = 0,
        minibatch_std: bool = False,
    ) -> None:
        MODERN_IMAGES.check(image_shape, "model.trunk: ModernTrunk", RESIZE)
        channels, more = image_shape[0], 1 if minibatch_std else 0
        super().__init__(
            *([nn.Conv2d(channels, detail, 3, padding=1), nn.LeakyReLU(0.2)] if detail else []),
            nn.Conv2d(detail or channels, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            *([MinibatchStd()] if minibatch_std else []),
            nn.Conv2d(2 * width + more, 4 * width, 3, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            Flatten(),
        )
        use_channels_last_(self)


def count_features(trunk: nn.Module, image_shape: ImageShape) -> int:
    """Returns the number of features F that a trunk computes for each image."""
    with torch.no_grad(), eval_mode(trunk):  # eval mode draws no random numbers
        features: Tensor = trunk(torch.zeros(1, *image_shape))
    if features.dim() != 2:
        raise UserError(
            f"model.trunk: {type(trunk).__name__} returns shape {tuple(features.shape)} for one "
            "image: it must return features (B, F), so end it with nn.Flatten()"
        )
    return features.shape[1]

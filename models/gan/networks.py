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
MODERN_SIDES = range(16, 257, 4)
MODERN_IMAGES = Shapes(
    "images of 1 or 3 channels whose height and width are multiples of 4 from 16 to 256",
    ((1, 3), MODERN_SIDES, MODERN_SIDES),
)
RESIZE = "resize them, or give your own network"
SMALLEST = 4  # side of the smallest feature maps
MOST_WIDTHS = 8  # channels of the smallest feature maps, at most, as a multiple of `width`


class ModernGenerator(nn.Sequential):
    """Features (B, input_dim) -> images (B, C, H, W) in [0, 1]; batch norm and ReLU.

    Images have 1 or 3 channels, and sides that are multiples of 4 from 16 to 256. Each layer
    doubles both sides. The first feature maps are the smallest of 4 x 4 or more: 7 x 7 for MNIST.

    Args:
        input_dim: Number of features.
        image_shape: (C, H, W).
        width: Channels at half the height and width. Smaller feature maps have twice as many at
            each halving, up to eight times.
        hidden: Units of each dense layer between the features and the first feature maps. Without
            one, the first feature maps are a sum of a part of the latents and a part of the class.
        skip: Concatenate the features with the output of the hidden layers.
        transposed: Upsample with a transposed 4 x 4 convolution, not with nearest upsampling and a
            5 x 5 convolution: a training step of `configs/cgan.yaml` takes 10 % less time. The last
            layer changes only with `detail`.
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
        channels, *sides = image_shape
        doublings = count_doublings(sides)
        height, columns = (side >> doublings for side in sides)
        widths = [width * min(2**level, MOST_WIDTHS) for level in reversed(range(doublings))]

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
            nn.Linear(units, widths[0] * height * columns, bias=False),
            *normed(Unflatten(1, (widths[0], height, columns)), widths[0]),
        ]
        for fan_in, fan_out in itertools.pairwise(widths):
            layers += normed(double(fan_in, fan_out), fan_out)
            if detail:
                layers += normed(nn.Conv2d(fan_out, fan_out, 3, padding=1), fan_out)
        if detail:
            layers += normed(double(width, detail), detail)
            layers += [nn.Conv2d(detail, channels, 3, padding=1)]
        else:
            layers += [UpsampleConv2d(width, channels, 5)]
        super().__init__(*layers, nn.Sigmoid())
        use_channels_last_(self)


def count_doublings(sides: Sequence[int]) -> int:
    """Returns how often feature maps of 4 x 4 or more can double to reach these sides exactly."""
    return max(n for n in range(7) if all(s % 2**n == 0 and s >> n >= SMALLEST for s in sides))


class WithInput(nn.Sequential):
    """Concatenates the output of layers (B, N) -> (B, M) with their input: (B, N) -> (B, M + N)."""

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.cat([super().forward(inputs), inputs], dim=1)


class ModernTrunk(nn.Sequential):
    """Strided convolutions without normalization: (B, C, H, W) -> features (B, F).

    Takes the images of `ModernGenerator`. There are at least three convolutions, and as many as
    reach 4 x 4.

    Args:
        image_shape: (C, H, W).
        width: Channels of the first strided layer; twice as many in each further one, up to eight
            times.
        detail: Channels of a 3 x 3 convolution in front, at full height and width; 0: none.
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
        halvings = max(3, count_doublings(image_shape[1:]))
        widths = [width * min(2**level, MOST_WIDTHS) for level in range(halvings)]

        def active(layer: nn.Module) -> list[nn.Module]:
            return [layer, nn.LeakyReLU(0.2)]

        layers = active(nn.Conv2d(channels, detail, 3, padding=1)) if detail else []
        for fan_in, fan_out in itertools.pairwise([detail or channels, *widths[:-1]]):
            layers += active(nn.Conv2d(fan_in, fan_out, 4, stride=2, padding=1))
        layers += [MinibatchStd()] if minibatch_std else []
        layers += active(nn.Conv2d(widths[-2] + more, widths[-1], 3, stride=2, padding=1))
        super().__init__(*layers, Flatten())
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

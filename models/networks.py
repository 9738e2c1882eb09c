"""Networks of the classifiers and regressors: from inputs to outputs, without training code.

Each is called as `network(input_shape, num_outputs)`; its outputs are logits or values.
"""

import math
from collections.abc import Callable, Container, Sequence
from functools import partial
from textwrap import shorten
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation as ConvBlock

from models.base import eval_mode
from models.fast_layers import Dropout, Linear, MaxPool2d
from models.layers import use_channels_last_
from runtime.errors import UserError
from runtime.ranges import Fraction, NonNegative, Positive, PositiveFloat

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": partial(nn.ReLU, inplace=True),
    "softplus": nn.Softplus,
    "softmax": partial(nn.Softmax, dim=1),
    "linear": nn.Identity,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "leakyrelu": nn.LeakyReLU,
    "mish": nn.Mish,
    "selu": nn.SELU,
    "silu": nn.SiLU,
}


class Shapes(NamedTuple):
    """Shapes of examples that a network or a model takes."""

    words: str
    sizes: tuple[Container[int], ...]  # that each dimension may have

    def check(self, shape: Sequence[int], name: str, remedy: str) -> None:
        """Refuses data whose examples have another shape.

        Args:
            shape: Shape of one example.
            name: The network with its option, or the model, for the message.
            remedy: Advice to the user.
        """
        fits = (size in sizes for size, sizes in zip(shape, self.sizes, strict=False))
        if len(shape) != len(self.sizes) or not all(fits):
            raise UserError(
                f"{name} takes {self.words}, and the data have shape {tuple(shape)}: {remedy}"
            )


MAX_SIZE = 1 << 20
ANY = range(1, MAX_SIZE)
VECTORS = Shapes("lists of numbers", (ANY,))
IMAGES = Shapes("images (C, H, W)", (ANY, ANY, ANY))
LECTURE_IMAGES = Shapes("1 x 28 x 28 images, as on the slides", ((1,), (28,), (28,)))


def images_from(side: int) -> Shapes:
    """Returns the shapes of images with any channels and at least this many pixels a side."""
    sides = range(side, MAX_SIZE)
    return Shapes(f"images of {side} x {side} pixels or more", (ANY, sides, sides))


def check_fit(network: nn.Module, input_shape: Sequence[int], num_outputs: int) -> None:
    """Refuses a network that cannot take the data's inputs, or has the wrong number of outputs."""
    name, shape = type(network).__name__, tuple(input_shape)
    try:
        with torch.no_grad(), eval_mode(network):  # eval mode draws no random numbers
            outputs = network(torch.zeros(2, *shape))
    except (RuntimeError, ValueError, IndexError) as error:
        reason = shorten(str(error), 100)
        raise UserError(
            f"model.network: {name} cannot take inputs of shape {shape} ({reason}): correct it, or "
            "choose another network or other data"
        ) from error
    output_shape = tuple(getattr(outputs, "shape", ()))
    if output_shape != (2, num_outputs):
        raise UserError(
            f"model.network: {name} returns shape {output_shape} for two inputs: it must return "
            f"{(2, num_outputs)}, a row of {num_outputs} for each input"
        )


def activation_layer(name: str) -> nn.Module:
    """Returns a new activation layer; `leaky_relu` and `LeakyReLU` are the same name."""
    key = name.lower().replace("_", "")
    if key not in ACTIVATIONS:
        raise UserError(f"there is no activation {name!r}: choose one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[key]()


class FeedForward(nn.Sequential):
    """Fully connected layers with an activation between each two.

    Args:
        input_shape: Shape of one example; images are flattened.
        num_outputs: Units of the last layer, which has no activation.
        hidden: Units of each hidden layer; one number: of the only one; 0: no hidden layer.
        activation: Of the hidden layers, see `activation_layer`.
        dropout: Probability with which a unit of a hidden layer is set to 0 in training.
        batch_norm: Normalize each hidden layer before its activation.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_outputs: int,
        hidden: NonNegative | Sequence[NonNegative] = 128,
        activation: str = "sigmoid",
        dropout: Fraction = 0.0,
        batch_norm: bool = False,
    ) -> None:
        units = ([hidden] if hidden else []) if isinstance(hidden, int) else hidden
        sizes = [math.prod(input_shape), *units, num_outputs]
        if min(sizes) < 1:
            raise UserError(f"every layer needs a unit, but the sizes are {sizes}")
        layers: list[nn.Module] = [nn.Flatten()]  # (B, ...) -> (B, sizes[0])
        for fan_in, fan_out in zip(sizes[:-2], sizes[1:-1], strict=True):
            layers.append(Linear(fan_in, fan_out))
            if batch_norm:
                layers.append(nn.BatchNorm1d(fan_out))
            layers.append(activation_layer(activation))
            if dropout:
                layers.append(Dropout(dropout))
        super().__init__(*layers, Linear(sizes[-2], sizes[-1]))


class OneHiddenLayer(FeedForward):
    """One hidden layer of N units whose turning points cover [-pi, pi]^m.

    Torch initializes most turning points near the origin. Here each unit turns at a point drawn
    uniformly, in a random direction, with a slope drawn log-uniformly between 1 and N^(1/m), so
    some units are wide and some as narrow as their distance (in the spirit of Nguyen and Widrow
    1990).

    Args:
        input_shape: (m,), the number of variables.
        num_outputs: Values at each point.
        hidden_units: The number N of units.
        activation: See `activation_layer`.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_outputs: int,
        hidden_units: Positive = 64,
        activation: str = "sigmoid",
    ) -> None:
        super().__init__(input_shape, num_outputs, hidden_units, activation)
        dimensions = math.prod(input_shape)
        layer = next(part for part in self if isinstance(part, nn.Linear))
        with torch.no_grad():
            direction = torch.randn(hidden_units, dimensions)
            direction /= direction.norm(dim=1, keepdim=True)
            slope = hidden_units ** (torch.rand(hidden_units, 1) / dimensions)
            center = (torch.rand(hidden_units, dimensions) * 2 - 1) * math.pi
            layer.weight.copy_(slope * direction)
            layer.bias.copy_(-(layer.weight * center).sum(dim=1))


class LectureConvNet(nn.Sequential):
    """The lecture's convolutional network: (B, 1, 28, 28) -> logits (B, num_outputs).

    Its weights stay in torch's default memory layout because it flattens at once.
    """

    def __init__(self, input_shape: tuple[int, ...], num_outputs: int) -> None:
        name = "model.network: LectureConvNet"
        LECTURE_IMAGES.check(input_shape, name, "use ResidualConvNet")
        super().__init__(
            nn.Conv2d(1, 32, 3),  # 26 x 26
            nn.ReLU(inplace=True),
            nn.Flatten(),
            Linear(32 * 26 * 26, 128),
            nn.Sigmoid(),
            nn.Linear(128, num_outputs),
        )


class Residual(nn.Sequential):
    """Layers whose output is added to their input (He et al. 2015)."""

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        return inputs + super().forward(inputs)


def pooled_block(in_channels: int, out_channels: int) -> list[nn.Module]:
    """Returns a convolution that halves height and width, then batch norm and ReLU."""
    convolution, *rest = ConvBlock(in_channels, out_channels)
    return [convolution, MaxPool2d(2), *rest]  # it normalizes a quarter of the values


def residual_block(channels: int) -> nn.Module:
    """Returns two convolutions whose output is added to their input."""
    return Residual(*ConvBlock(channels, channels), *ConvBlock(channels, channels))


class ConvNet(nn.Sequential):
    """Four convolutions for a few CPU-seconds: images (B, C, H, W) -> logits (B, num_outputs).

    Args:
        input_shape: (C, H, W), at least 11 x 11 pixels.
        num_outputs: Number of outputs.
        width: Channels of the first layer; later layers have two and four times as many.
    """

    def __init__(
        self, input_shape: tuple[int, ...], num_outputs: int, width: Positive = 16
    ) -> None:
        images_from(11).check(input_shape, "model.network: ConvNet", "use FeedForward")
        super().__init__(
            *ConvBlock(input_shape[0], width, kernel_size=5, stride=2, padding=0),
            *pooled_block(width, 2 * width),
            *pooled_block(2 * width, 4 * width),
            *ConvBlock(4 * width, 4 * width),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
            nn.Linear(4 * width, num_outputs),
        )
        use_channels_last_(self)


class ResidualConvNet(nn.Sequential):
    """A small residual network: images (B, C, H, W) -> logits (B, num_outputs).

    Args:
        input_shape: (C, H, W), at least 8 x 8 pixels.
        num_outputs: Number of outputs.
        width: Channels of the first layer; later layers have three and six times as many.
        dropout: Fraction of the features that a training step sets to 0 before the last layer.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_outputs: int,
        width: Positive = 32,
        dropout: Fraction = 0.0,
    ) -> None:
        images_from(8).check(input_shape, "model.network: ResidualConvNet", "use FeedForward")
        middle, last = 3 * width, 6 * width
        super().__init__(
            *ConvBlock(input_shape[0], width, kernel_size=5, stride=2),
            *pooled_block(width, middle),
            residual_block(middle),
            *pooled_block(middle, last),
            residual_block(last),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
            Dropout(dropout),
            nn.Linear(last, num_outputs),
        )
        use_channels_last_(self)


class ResNet9(nn.Sequential):
    """A residual network whose first layers have full resolution, for textures.

    After Page 2018, "How to train your ResNet": images (B, C, H, W) -> logits (B, num_outputs)
    through eight convolutions and a dense layer.

    Args:
        input_shape: (C, H, W), at least 8 x 8 pixels.
        num_outputs: Number of outputs.
        width: Channels of the first layer. They double with each halving of height and width.
        dropout: Fraction of the features that a training step sets to 0 before the last layer.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_outputs: int,
        width: Positive = 24,
        dropout: Fraction = 0.0,
    ) -> None:
        images_from(8).check(input_shape, "model.network: ResNet9", "use FeedForward")
        half, quarter, eighth = 2 * width, 4 * width, 8 * width
        super().__init__(
            *ConvBlock(input_shape[0], width),
            *pooled_block(width, half),
            residual_block(half),
            *pooled_block(half, quarter),
            *pooled_block(quarter, eighth),
            residual_block(eighth),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
            Dropout(dropout),
            nn.Linear(eighth, num_outputs),
        )
        use_channels_last_(self)


# Channels of the 13 convolutions; "M" halves height and width by max pooling.
CHANNELS = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")


class VGG16(nn.Sequential):
    """13 convolutions and 3 dense layers (Simonyan and Zisserman 2014), for images of any size.

    Zeros pad height and width to multiples of 32.

    Args:
        input_shape: (C, H, W) of the images.
        num_outputs: Number of outputs.
        width: Factor on all channels and on `hidden`; 0.25 takes a sixteenth of the work.
        hidden: Units of the two hidden dense layers.
        batch_norm: Normalize after each convolution, without which it hardly starts to learn.
        dropout: Probability with which a hidden dense unit is set to 0 in training.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_outputs: int,
        width: PositiveFloat = 1.0,
        hidden: Positive = 4096,
        batch_norm: bool = True,
        dropout: Fraction = 0.5,
    ) -> None:
        IMAGES.check(input_shape, "model.network: VGG16", "use FeedForward")
        current, *sides = input_shape
        size = [-(-side // 32) * 32 for side in sides]  # five poolings halve it
        rows, columns = (new - old for new, old in zip(size, sides, strict=True))
        left, top = columns // 2, rows // 2
        layers: list[nn.Module] = [nn.ZeroPad2d((left, columns - left, top, rows - top))]
        for item in CHANNELS:
            if isinstance(item, str):
                layers.append(MaxPool2d(2))
                size = [side // 2 for side in size]
                continue
            out = max(1, round(item * width))
            layers.append(nn.Conv2d(current, out, 3, padding=1, bias=not batch_norm))
            if batch_norm:
                layers.append(nn.BatchNorm2d(out))
            layers.append(nn.ReLU(inplace=True))
            current = out
        units = max(1, round(hidden * width))
        dense = FeedForward((current, *size), num_outputs, (units, units), "relu", dropout)
        super().__init__(*layers, *dense)
        use_channels_last_(self)

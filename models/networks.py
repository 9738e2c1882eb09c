"""The networks of the classifiers and regressors: from inputs to logits, without training code."""

import difflib
import inspect
from collections.abc import Callable, Sequence
from functools import partial

from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torch.nn.modules import activation as torch_activations

from models.layers import Dropout, MaxPool2d

LECTURE_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": partial(nn.ReLU, inplace=True),
    "softplus": nn.Softplus,
    "softmax": partial(nn.Softmax, dim=1),
    "linear": nn.Identity,
}


def activation(name: str) -> nn.Module:
    """A new activation layer by its name.

    Args:
        name: `sigmoid`, `tanh`, `relu`, `softplus`, `softmax` (over the units of a layer) or
            `linear`; or another of torch's, such as `gelu`, `leaky_relu` or `SiLU`.

    Raises:
        MisconfigurationException: There is none of this name; near names are given.
    """
    others = _torch_activations()
    key = name.lower().replace("_", "")
    if key in LECTURE_ACTIVATIONS:
        return LECTURE_ACTIVATIONS[key]()
    if key in others:
        return others[key]()
    known = list(dict.fromkeys([*LECTURE_ACTIVATIONS, *others]))  # torch names some as well
    near = difflib.get_close_matches(key, known, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"one of {', '.join(known)}."
    raise MisconfigurationException(f"there is no activation {name!r}: {hint}")


def _torch_activations() -> dict[str, type[nn.Module]]:
    """Torch's activations that can be made without arguments, by lower-case name."""
    found = {}
    for name in torch_activations.__all__:
        cls = getattr(torch_activations, name)
        parameters = inspect.signature(cls).parameters.values()
        if all(p.default is not p.empty for p in parameters) and "dim" not in cls.__constants__:
            found[name.lower()] = cls
    return found


def mlp(
    sizes: Sequence[int],
    activation_name: str = "relu",
    dropout: float = 0.0,
    batch_norm: bool = False,
) -> nn.Sequential:
    """A feed-forward network: fully connected layers with an activation between each two.

    Args:
        sizes: Units of each layer, from the inputs to the outputs. Inputs with more dimensions,
            such as images, are flattened first.
        activation_name: See `activation`; the last layer has none, its outputs are logits.
        dropout: Share of the units of each hidden layer that rest in a training step.
        batch_norm: Normalise each hidden layer before its activation.

    Raises:
        MisconfigurationException: A layer has no units, or there is no such activation.
    """
    if len(sizes) < 2 or min(sizes) < 1:
        raise MisconfigurationException(f"every layer needs a unit, but the sizes are {sizes}")
    layers: list[nn.Module] = [nn.Flatten()]  # (B, ...) -> (B, sizes[0])
    for fan_in, fan_out in zip(sizes[:-2], sizes[1:-1], strict=True):
        layers.append(nn.Linear(fan_in, fan_out))
        if batch_norm:
            layers.append(nn.BatchNorm1d(fan_out))
        layers.append(activation(activation_name))
        if dropout:
            layers.append(Dropout(dropout))
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


def lecture_convnet(num_classes: int = 10) -> nn.Sequential:
    """The lecture's convolutional network: (B, 1, 28, 28) -> logits (B, num_classes)."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3),  # 26 x 26
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(32 * 26 * 26, 128),
        nn.Sigmoid(),
        nn.Linear(128, num_classes),
    )


def conv_block(
    in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1
) -> list[nn.Module]:
    """A convolution with "same" padding, batch norm and ReLU."""
    padding = kernel_size // 2
    return [
        nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    ]


class Residual(nn.Sequential):
    """Layers whose result is added to what they were given (He et al. 2015)."""

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        return inputs + super().forward(inputs)


def pooled_block(in_channels: int, out_channels: int) -> list[nn.Module]:
    """As `conv_block`, halving height and width before it normalises a quarter of the values."""
    convolution, *rest = conv_block(in_channels, out_channels)
    return [convolution, MaxPool2d(2), *rest]


def modern_convnet(width: int = 32, num_classes: int = 10, dropout: float = 0.0) -> nn.Sequential:
    """A small residual network: (B, 1, 28, 28) -> logits (B, num_classes).

    Args:
        width: Channels of the first layer; later layers have three and six times as many.
        num_classes: Number of outputs.
        dropout: Share of the features that rest in a training step before the last layer.
    """
    middle, last = 3 * width, 6 * width
    return nn.Sequential(
        *conv_block(1, width, kernel_size=5, stride=2),  # 14 x 14
        *pooled_block(width, middle),  # 7 x 7
        Residual(*conv_block(middle, middle), *conv_block(middle, middle)),
        *pooled_block(middle, last),  # 3 x 3
        Residual(*conv_block(last, last), *conv_block(last, last)),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        Dropout(dropout),
        nn.Linear(last, num_classes),
    )


# VGG-16: channels of the 13 convolutions; "M" halves height and width by max pooling.
VGG16 = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")


def vgg(
    channels: Sequence[int | str] = VGG16,
    in_channels: int = 1,
    image_size: int = 32,
    hidden: int = 4096,
    num_classes: int = 10,
    batch_norm: bool = True,
    dropout: float = 0.5,
    width: float = 1.0,
) -> nn.Sequential:
    """A VGG from its list of channels, with three dense layers (Simonyan and Zisserman 2014).

    Args:
        channels: Channels of each 3 x 3 convolution, and "M" for each 2 x 2 max pooling.
        in_channels: Channels of the images.
        image_size: Height and width of the images.
        hidden: Units of the two hidden dense layers.
        num_classes: Number of outputs.
        batch_norm: Normalise after each convolution.
        dropout: Share of the hidden dense units that rest in a training step.
        width: Factor on all channels and on `hidden`; parameters grow with its square.

    Raises:
        MisconfigurationException: The poolings leave nothing of so small an image.
    """
    layers: list[nn.Module] = []
    size, current = image_size, in_channels
    for item in channels:
        if isinstance(item, str):
            layers.append(MaxPool2d(2))
            size //= 2
            continue
        out = max(1, round(item * width))
        layers.append(nn.Conv2d(current, out, 3, padding=1, bias=not batch_norm))
        if batch_norm:
            layers.append(nn.BatchNorm2d(out))
        layers.append(nn.ReLU(inplace=True))
        current = out
    if size < 1:  # 28 -> 14 -> 7 -> 3 -> 1 -> 0
        raise MisconfigurationException(
            f"image_size {image_size} leaves nothing after this VGG's poolings: set it to 32"
        )
    units = max(1, round(hidden * width))
    head = mlp([current * size * size, units, units, num_classes], "relu", dropout)
    return nn.Sequential(*layers, *head)


class PadTo(nn.Module):
    """Pads images with zeros, evenly on all sides, up to `size` x `size`."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, size, size)."""
        rows, columns = self.size - images.shape[2], self.size - images.shape[3]
        left, top = columns // 2, rows // 2
        return nn.functional.pad(images, (left, columns - left, top, rows - top))


def count_parameters(network: nn.Module) -> int:
    """Trainable parameters of a network."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)

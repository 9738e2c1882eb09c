"""VGG-16, the lecture's example of a realistic network."""

from torch import Tensor, nn

from models.layers import MaxPool2d, use_channels_last_
from models.networks import FeedForward
from runtime.errors import UserError
from runtime.ranges import Positive, PositiveFloat, Share

# Channels of the 13 convolutions; "M" halves height and width by max pooling.
CHANNELS = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")


class VGG16(nn.Sequential):
    """13 convolutions and 3 dense layers (Simonyan and Zisserman 2014), for images of any size.

    Args:
        input_shape: (C, H, W) of the images.
        num_outputs: Number of outputs.
        width: Factor on all channels and on `hidden`; 0.25 takes a sixteenth of the work.
        hidden: Units of the two hidden dense layers.
        batch_norm: Normalize after each convolution, without which it hardly starts to learn.
        dropout: Share of the hidden dense units that a training step sets to 0.
        pad_to_multiple_of: Zeros pad height and width to multiples of it; five poolings need 32.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_outputs: int,
        width: PositiveFloat = 1.0,
        hidden: Positive = 4096,
        batch_norm: bool = True,
        dropout: Share = 0.5,
        pad_to_multiple_of: Positive = 32,
    ) -> None:
        if len(input_shape) != 3:
            raise UserError(
                "model.network: VGG16 takes images (C, H, W), and the data have shape "
                f"{tuple(input_shape)}: use FeedForward"
            )
        if pad_to_multiple_of < 32:  # five poolings
            raise UserError(
                f"model.network.pad_to_multiple_of is {pad_to_multiple_of}, of which the poolings "
                "leave nothing: set it to 32"
            )
        current, *sides = input_shape
        size = [-(-side // pad_to_multiple_of) * pad_to_multiple_of for side in sides]
        layers: list[nn.Module] = [PadTo(*size)]
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


class PadTo(nn.Module):
    """Pads images with zeros, evenly on all sides, up to a height and a width."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, height, width)."""
        rows, columns = self.height - images.shape[2], self.width - images.shape[3]
        left, top = columns // 2, rows // 2
        return nn.functional.pad(images, (left, columns - left, top, rows - top))

"""A small U-Net with embeddings of time and class, for flows."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers import full_precision, use_channels_last_
from models.networks import ANY, MAX_SIZE, Shapes
from runtime.errors import UserError
from runtime.ranges import Positive

FREQUENCIES = 16  # of the time's sines and cosines
SIGMA_DATA = 0.5  # standard deviation of the clean images' values, about


class UNet(nn.Module):
    """Predicts clean images from noisy ones, times and class vectors.

    2 x 2 patches become channels, so everything happens at half the height and width or less:
    residual blocks there, at a quarter, and so on, and back, with each level's features added on
    the way. The output is a weighted mean of the input and the layers' output, with more of the
    input the less noise it has, so that the layers need not copy it (preconditioning of Karras et
    al. 2022, table 1).

    Args:
        image_shape: (C, H, W); the sides are multiples of 2 to the power of the number of levels.
        num_classes: Number of classes; 0: unconditional.
        widths: Channels of each level, at half the height and width, at a quarter, and so on.
        blocks: Residual blocks on each side of a level, and in the middle of the last.
    """

    removed_options = {"attention": False}

    def __init__(
        self,
        image_shape: tuple[int, ...],
        num_classes: int,
        widths: Sequence[Positive] = (32, 64),
        blocks: tuple[Positive, Positive] = (2, 2),
    ) -> None:
        super().__init__()
        if not widths:
            raise UserError(
                "model.network.widths is empty: give at least one, [32, 64] for example"
            )
        divisor = 2 ** len(widths)
        sides = range(divisor, MAX_SIZE, divisor)
        shapes = f"images whose height and width are multiples of {divisor}"
        remedy = "resize them, use fewer widths, or give your own network"
        Shapes(shapes, (ANY, sides, sides)).check(image_shape, "model.network: UNet", remedy)
        dim, patch = 4 * widths[0], 4 * image_shape[0]
        self.time = nn.Sequential(nn.Linear(2 * FREQUENCIES, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.label = nn.Linear(num_classes, dim, bias=False) if num_classes else None
        self.enter = nn.Conv2d(patch, widths[0], 3, padding=1)
        self.levels = build_levels(widths, dim, blocks)
        self.leave = normed_conv(widths[0], patch)
        use_channels_last_(self)

    def forward(self, points: Tensor, times: Tensor, classes: Tensor) -> Tensor:
        """Points (B, C, H, W), times (B,), one-hot classes (B, num_classes) -> (B, C, H, W)."""
        left = 1 - times[:, None, None, None]
        signal = SIGMA_DATA * (1 - left)
        spread = (signal.square() + left.square()).sqrt()  # of the points
        output = full_precision(self.layers(points / spread, times, classes))
        return (SIGMA_DATA * signal * points / spread + SIGMA_DATA * left * output) / spread

    def layers(self, points: Tensor, times: Tensor, classes: Tensor) -> Tensor:
        """Computes the layers' output, without the preconditioning."""
        embedding = self.time(time_embedding(times).to(points.dtype))
        if self.label is not None:
            embedding = embedding + self.label(classes)
        features = self.enter(F.pixel_unshuffle(points, 2))
        return F.pixel_shuffle(self.leave(self.levels(features, F.silu(embedding))), 2)


def build_levels(widths: Sequence[int], dim: int, blocks: tuple[int, int]) -> nn.Module:
    """Builds the levels of these widths, each inside the one before it."""
    if len(widths) == 1:
        return Blocks(blocks[1], widths[0], dim)
    return Level(widths, dim, blocks)


class Level(nn.Module):
    """Blocks, the smaller levels at half the height and width, and blocks after these."""

    def __init__(self, widths: Sequence[int], dim: int, blocks: tuple[int, int]) -> None:
        super().__init__()
        width, inner, *_ = widths
        self.down = Blocks(blocks[0], width, dim)
        self.shrink = nn.Conv2d(width, inner, 2, stride=2)
        self.inner = build_levels(widths[1:], dim, blocks)
        self.enlarge = nn.ConvTranspose2d(inner, width, 2, stride=2)
        self.up = Blocks(blocks[0], width, dim)

    def forward(self, images: Tensor, embedding: Tensor) -> Tensor:
        """Features (B, width, H, W), embedding (B, dim) -> features (B, width, H, W)."""
        fine: Tensor = self.down(images, embedding)
        fine = fine + self.enlarge(self.inner(self.shrink(fine), embedding))
        return self.up(fine, embedding)


class Blocks(nn.ModuleList):
    """Residual blocks one after the other."""

    def __init__(self, count: int, width: int, dim: int) -> None:
        super().__init__(Block(width, dim) for _ in range(count))

    def forward(self, images: Tensor, embedding: Tensor) -> Tensor:
        """Features (B, width, H, W), embedding (B, dim) -> features (B, width, H, W)."""
        for block in self:
            images = block(images, embedding)
        return images


class Block(nn.Module):
    """A residual block whose features are scaled and shifted by the embedding (FiLM)."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.first = normed_conv(width, width)
        self.norm = ChannelNorm(width)
        self.tell = nn.Linear(dim, 2 * width)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        for values in [*self.tell.parameters(), *self.second.parameters()]:
            nn.init.zeros_(values)  # so that a new block returns its input

    def forward(self, images: Tensor, embedding: Tensor) -> Tensor:
        """Features (B, width, H, W), embedding (B, dim) -> features (B, width, H, W)."""
        scale, shift = self.tell(embedding)[:, :, None, None].chunk(2, dim=1)
        inner = self.norm(self.first(images)) * (1 + scale) + shift
        return images + self.second(F.silu(inner))


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each pixel: (B, C, H, W) -> the same shape.

    In channels-last layout it takes half the time of a group norm, and bf16 stays bf16.
    """

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, enabled=False):
            weight, bias = (part.to(images.dtype) for part in (self.weight, self.bias))
            pixels = images.permute(0, 2, 3, 1)
            return F.layer_norm(pixels, self.normalized_shape, weight, bias).permute(0, 3, 1, 2)


def normed_conv(fan_in: int, fan_out: int) -> nn.Module:
    """Returns a norm, SiLU and a 3 x 3 convolution."""
    convolution = nn.Conv2d(fan_in, fan_out, 3, padding=1)
    return nn.Sequential(ChannelNorm(fan_in), nn.SiLU(), convolution)


def time_embedding(times: Tensor) -> Tensor:
    """Times (B,) in [0, 1] -> their sines and cosines (B, 2 * FREQUENCIES)."""
    times = full_precision(times)
    rates = torch.logspace(0, 2, FREQUENCIES, dtype=times.dtype, device=times.device)
    angles = times[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)

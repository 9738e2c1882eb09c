"""A small U-Net with embeddings of time and class, for flows."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers import full_precision, use_channels_last_
from models.networks import ANY, MAX_SIZE, Shapes
from runtime.ranges import Positive

FREQUENCIES = 16  # of the time's sines and cosines
SIGMA_DATA = 0.5  # standard deviation of the clean images' values, about
SIDES = range(4, MAX_SIZE, 4)
UNET_IMAGES = Shapes("images whose height and width are multiples of 4", (ANY, SIDES, SIDES))


class UNet(nn.Module):
    """Predicts clean images from noisy ones, times and class vectors.

    2 x 2 patches become channels, so everything happens at half the height and width or less:
    residual blocks there, at a quarter, and back, with the first ones' output added on the way.
    The output is a weighted mean of the input and the layers' output, with more of the input the
    less noise it has, so that the layers need not copy it (preconditioning of Karras et al. 2022,
    table 1).

    Args:
        image_shape: (C, H, W), with even sides.
        num_classes: Number of classes; 0: unconditional.
        widths: Channels at half the height and width, and at a quarter.
        blocks: Residual blocks on each of the two sides, and in the middle.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        num_classes: int,
        widths: tuple[Positive, Positive] = (32, 64),
        blocks: tuple[Positive, Positive] = (2, 2),
    ) -> None:
        super().__init__()
        remedy = "resize them, or give your own network"
        UNET_IMAGES.check(image_shape, "model.network: UNet", remedy)
        (width, inner), (sides, middle) = widths, blocks
        dim, patch = 4 * width, 4 * image_shape[0]
        self.time = nn.Sequential(nn.Linear(2 * FREQUENCIES, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.label = nn.Linear(num_classes, dim, bias=False) if num_classes else None
        self.enter = nn.Conv2d(patch, width, 3, padding=1)
        self.down = nn.ModuleList(Block(width, dim) for _ in range(sides))
        self.shrink = nn.Conv2d(width, inner, 2, stride=2)
        self.middle = nn.ModuleList(Block(inner, dim) for _ in range(middle))
        self.enlarge = nn.ConvTranspose2d(inner, width, 2, stride=2)
        self.up = nn.ModuleList(Block(width, dim) for _ in range(sides))
        self.leave = normed_conv(width, patch)
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
        embedding = F.silu(embedding)
        fine = self.enter(F.pixel_unshuffle(points, 2))
        for block in self.down:
            fine = block(fine, embedding)
        coarse = self.shrink(fine)
        for block in self.middle:
            coarse = block(coarse, embedding)
        fine = fine + self.enlarge(coarse)
        for block in self.up:
            fine = block(fine, embedding)
        return F.pixel_shuffle(self.leave(fine), 2)


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

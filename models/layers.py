"""Layers of the GANs that compute what torch's compute, in less time, and initial weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

Initialization = Literal["torch", "glorot", "normal"]


class UpsampleConv2d(nn.Module):
    """Nearest 2x upsampling and a convolution with an odd kernel and "same" padding, in one.

    On an upsampled image the taps of the kernel fall on few distinct pixels: tap t of output row
    2i + p reads the low-resolution row i + floor((p + t) / 2). The sum of the taps that share a row
    is a smaller kernel for each of the four phases (p, q). One convolution at low resolution
    computes the phases as channels, phase by phase, and `interleave` puts them in their places. In
    channels-last layout that copies whole rows of channels, where `pixel_shuffle` moves single
    values. In exact arithmetic the result equals `nn.Upsample` and `nn.Conv2d`, whose parameters
    these are, with 25/9 times fewer multiplications for a 5 x 5 kernel (Shi et al. 2016, "Is the
    deconvolution layer the same as a convolutional layer?").
    """

    fold: Tensor

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        plain = nn.Conv2d(in_channels, out_channels, kernel_size)
        self.weight, self.bias = plain.weight, plain.bias
        half = kernel_size // 2
        rows = [[(p + t) // 2 for t in range(-half, half + 1)] for p in (0, 1)]
        self.padding = max(max(r) for r in rows)  # = -min: the taps reach equally far both ways
        fold = torch.zeros(2, 2 * self.padding + 1, kernel_size)  # phase x low-resolution tap x tap
        for p, row in enumerate(rows):
            for t, low in enumerate(row):
                fold[p, low + self.padding, t] = 1
        self.register_buffer("fold", fold, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, 2H, 2W)."""
        weight = torch.einsum("pat,qbs,oits->pqoiab", self.fold, self.fold, self.weight)
        bias = None if self.bias is None else self.bias.repeat(4)
        return interleave(F.conv2d(images, weight.flatten(0, 2), bias, padding=self.padding))


def interleave(phases: Tensor) -> Tensor:
    """Spreads the channels of four phases, (B, 4 * C, H, W), over (B, C, 2H, 2W)."""
    rows = phases.permute(0, 2, 3, 1).unflatten(3, (2, 2, -1))  # (B, H, W, 2, 2, C)
    return rows.transpose(2, 3).flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)


class Unflatten(nn.Unflatten):
    """Like `nn.Unflatten`, in the memory layout that is fastest for convolutions: channels last."""

    def forward(self, features: Tensor) -> Tensor:
        """(B, C * H * W) -> (B, C, H, W)."""
        return super().forward(features).contiguous(memory_format=torch.channels_last)


class Flatten(nn.Flatten):
    """Like `nn.Flatten`, whose gradient arrives in the layout that the images had.

    A mixture of layouts makes the backward pass of an activation up to twenty times slower.
    """

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C * H * W)."""
        in_channels_last = images.dim() == 4 and images.stride(1) == 1
        if in_channels_last and torch.is_grad_enabled() and images.requires_grad:
            images = _GradientInChannelsLast.apply(images)
        return super().forward(images)


class _GradientInChannelsLast(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor) -> Tensor:
        return images.view_as(images)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.contiguous(memory_format=torch.channels_last)


class BatchAware:
    """A layer that compares the examples of a batch, or draws random numbers for them."""

    joined = 1  # batches that are joined in one, which must not mix: see `joined_batches`


class MinibatchStd(BatchAware, nn.Module):
    """Adds a channel: the standard deviation over groups of images (Karras et al. 2018, 3).

    So a discriminator detects generated images that are too similar. Groups consist of consecutive
    images in a process's own batch.
    """

    GROUP = 4

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C + 1, H, W)."""
        count = len(features) // self.joined
        group = next(g for g in range(self.GROUP, 0, -1) if count % g == 0)
        groups = full_precision(features).unflatten(0, (len(features) // group, group))
        centered = groups - groups.mean(dim=1, keepdim=True)  # `var` takes three times as long here
        differ = (centered.square().mean(dim=1) + 1e-8).sqrt().mean(dim=(1, 2, 3))
        channel = differ.repeat_interleave(group).to(features.dtype)
        shape = (len(features), 1, *features.shape[2:])
        return torch.cat([features, channel.view(-1, 1, 1, 1).expand(shape)], dim=1)


@contextmanager
def joined_batches(network: nn.Module, joined: int) -> Iterator[None]:
    """Tells the layers of a network how many batches are joined in one.

    They then compare no images of two of these batches, and draw random numbers for each of them.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, BatchAware)]
    for layer in layers:
        layer.joined = joined
    try:
        yield
    finally:
        for layer in layers:
            layer.joined = 1


def full_precision(values: Tensor) -> Tensor:
    """Converts values to float32 at least: half precision ends at the last layer."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def spectral_normalize_(network: nn.Module) -> None:
    """Divides the weights of each layer by their largest singular value (Miyato et al. 2018)."""
    for layer in [*network.modules()]:
        if isinstance(layer, nn.Linear | nn.Conv2d):
            spectral_norm(layer)


def use_channels_last_(network: nn.Module) -> None:
    """Stores a network's weights in channels-last layout, which its feature maps then also have."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def initialize_(network: nn.Module, initialization: Initialization) -> None:
    """Initializes a network in place; `torch` leaves it as it was built.

    `glorot` draws uniform weights and sets biases to zero (Glorot and Bengio 2010), as Keras does.
    `normal` draws weights and biases from the standard normal distribution.
    """
    if initialization == "torch":
        return
    normal = initialization == "normal"
    draw, draw_bias = (
        (nn.init.normal_,) * 2 if normal else (nn.init.xavier_uniform_, nn.init.zeros_)
    )
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | UpsampleConv2d):
            weight = torch.empty(layer.weight.shape)  # the draws do not depend on memory layout
            with torch.no_grad():
                layer.weight.copy_(draw(weight))
            if layer.bias is not None:
                draw_bias(layer.bias)

"""Tricks for GANs: augmented and noisy views, and discriminators that compare images of a batch."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.distributed import share_of
from runtime.ranges import NonNegative, NonNegativeFloat, Share


class View:
    """Differentiable augmentations and noise, for real and generated images alike.

    The generator learns through them, and its images stay free of them (Zhao et al. 2020). There is
    no mirroring, which would make other digits of digits.

    Args:
        translation: Largest move in each direction, as a share of the side; zeros move in.
        cutout: Side of a square that is set to 0, as a share of the side.
        noise: Standard deviation of Gaussian noise at the start (Arjovsky and Bottou 2017).
        noise_steps: Steps in which the noise falls linearly to 0; 0: it stays.
    """

    def __init__(
        self,
        translation: Share = 0.0,
        cutout: Share = 0.0,
        noise: NonNegativeFloat = 0.0,
        noise_steps: NonNegative = 0,
    ) -> None:
        self.translation, self.cutout = translation, cutout
        self.noise, self.noise_steps = noise, noise_steps

    def of(self, images: Tensor, step: int) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        if self.translation:
            images = translate(images, self.translation)
        if self.cutout:
            images = cut_out(images, self.cutout)
        if deviation := self.deviation(step):
            normal = share_of(torch.randn, *images.shape, device=images.device)
            images = images + deviation * normal.to(images.dtype)
        return images

    def deviation(self, step: int) -> float:
        """Returns the noise's standard deviation in a step."""
        return (
            self.noise * max(0.0, 1 - step / self.noise_steps) if self.noise_steps else self.noise
        )


ViewCallable = Callable[[], View]


def translate(images: Tensor, share: float) -> Tensor:
    """Moves each image (B, C, H, W) by whole pixels, up to a share of its sides; zeros move in."""
    (count, _, height, width), device = images.shape, images.device
    down, right = round(share * height), round(share * width)
    draw = partial(share_of, count=count, device=device)
    rows = draw(partial(torch.randint, 2 * down + 1))[:, None] + torch.arange(height, device=device)
    columns = draw(partial(torch.randint, 2 * right + 1))[:, None]
    columns = columns + torch.arange(width, device=device)
    padded = F.pad(images, (right, right, down, down)).permute(0, 2, 3, 1)
    each = torch.arange(count, device=device)[:, None, None]
    return padded[each, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def cut_out(images: Tensor, share: float) -> Tensor:
    """Sets a square in each image (B, C, H, W) to 0, with a side of a share of the image's."""
    (count, _, *sides), device = images.shape, images.device
    inside = []
    for side in sides:
        size = round(share * side)
        draw = partial(torch.randint, side + 1 - size % 2)
        first = share_of(draw, count, device=device)[:, None] - size // 2
        place = torch.arange(side, device=device)
        inside.append((place >= first) & (place < first + size))  # (B, side)
    square = inside[0][:, :, None] & inside[1][:, None, :]
    return images.masked_fill(square[:, None], 0.0)


class MinibatchStd(nn.Module):
    """Adds a channel: how much a few images of a batch differ (Karras et al. 2018, section 3).

    So a discriminator sees that generated images are too much alike. Groups consist of images that
    follow each other in a process's own batch.
    """

    GROUP = 4
    sets = 1  # see `in_sets`

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C + 1, H, W)."""
        count = len(features) // self.sets
        group = next(g for g in range(self.GROUP, 0, -1) if count % g == 0)
        groups = features.float().unflatten(0, (len(features) // group, group))
        centered = groups - groups.mean(dim=1, keepdim=True)  # `var` takes three times as long here
        differ = (centered.square().mean(dim=1) + 1e-8).sqrt().mean(dim=(1, 2, 3))
        channel = differ.repeat_interleave(group).to(features.dtype)
        shape = (len(features), 1, *features.shape[2:])
        return torch.cat([features, channel.view(-1, 1, 1, 1).expand(shape)], dim=1)


class Pack(nn.Module):
    """Joins each image with the next ones of its batch as channels (Lin et al. 2018, PacGAN).

    So a discriminator sees several images at once. The batch is a process's own.
    """

    sets = 1  # see `in_sets`

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, count * C, H, W)."""
        parts = split(images, self.sets)
        turned = [parts.roll(-step, dims=1).flatten(0, 1) for step in range(self.count)]
        return torch.cat(turned, dim=1)


def nearness_within_classes(measures: Tensor, labels: Tensor, sets: int = 1) -> Tensor:
    """Returns the mean of exp(-distance) to the other images of the same class and batch.

    Args:
        measures: (B, M); each of the M is compared alone.
        labels: (B,).
        sets: Batches that are joined in this one; images of two are never compared.

    Returns:
        (B, M), 0 for an image whose class has no other.
    """
    parts, classes = split(measures, sets), split(labels, sets)  # (S, N, M), (S, N)
    near = (-(parts[:, :, None] - parts[:, None]).abs()).exp()  # (S, N, N, M)
    others = (classes[:, :, None] == classes[:, None]).to(near.dtype)
    others = others - torch.eye(others.shape[1], dtype=near.dtype, device=near.device)
    total = (near * others[..., None]).sum(dim=2)  # a matrix product would be in bf16 precision
    return (total / others.sum(dim=2, keepdim=True).clamp(min=1)).flatten(0, 1)


def split(batch: Tensor, sets: int) -> Tensor:
    """Returns a batch (B, ...) of joined batches as (sets, B / sets, ...)."""
    return batch.unflatten(0, (sets, len(batch) // sets))

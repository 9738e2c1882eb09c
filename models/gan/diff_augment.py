"""Differentiable augmentation of what the discriminator sees, for GANs of few images."""

import torch
from torch import Tensor, nn

from models.distributed import draw_local
from runtime.errors import UserError

TRANSLATION, CUTOUT = 1 / 8, 1 / 2  # largest shift, and side of the hole, as fractions of a side


class DiffAugment(nn.Module):
    """Color, translation and cutout of real and generated images alike (Zhao et al. 2020).

    It is hard for the discriminator to memorize the images. The generator learns through all parts,
    so its images stay free of it. The amounts are those of the paper: brightness changes by at most
    0.25, saturation by 0 to 2 times, contrast by 0.5 to 1.5 times. Translation repeats the pixels
    of the edge, which the paper replaces by gray.
    """

    removed_options = {"color": 1.0, "translation": TRANSLATION, "cutout": CUTOUT}

    def forward(self, images: Tensor, step: int) -> Tensor:
        """Images (B, C, H, W) in [0, 1] -> the same shape; color may leave that range."""
        if images.dim() != 4:
            raise UserError(
                "model.augment: DiffAugment changes images, and the data are points: leave it out"
            )
        random = draw_local(torch.rand, len(images), 7, device=images.device)
        images = jitter(images, 2 * random[:, :3] - 1)
        images = translate(images, TRANSLATION, random[:, 3:5])
        return cut_out(images, CUTOUT, random[:, 5:])


def jitter(images: Tensor, amounts: Tensor) -> Tensor:
    """Changes brightness, saturation and contrast by amounts (B, 3) in [-1, 1]."""
    brightness, saturation, contrast = amounts.to(images.dtype)[:, :, None, None, None].unbind(1)
    images = images + brightness / 4
    images = torch.lerp(images.mean(dim=1, keepdim=True), images, 1 + saturation)
    return torch.lerp(images.mean(dim=(1, 2, 3), keepdim=True), images, 1 + contrast / 2)


def translate(images: Tensor, fraction: float, random: Tensor) -> Tensor:
    """Shifts images by whole pixels and repeats their edges; `random` (B, 2) is in [0, 1)."""
    for axis in (2, 3):
        side = images.shape[axis]
        largest = round(fraction * side)
        shift = (random[:, axis - 2] * (2 * largest + 1)).long() - largest
        index = (torch.arange(side, device=images.device) - shift[:, None]).clamp(0, side - 1)
        shape = [-1, 1, 1, 1]
        shape[axis] = side
        images = images.take_along_dim(index.view(shape), dim=axis)
    return images


def cut_out(images: Tensor, fraction: float, random: Tensor) -> Tensor:
    """Cuts a hole around a random place of each image; `random` (B, 2) is in [0, 1)."""
    inside = []
    for side, center in zip(images.shape[2:], random.T, strict=True):
        size = round(fraction * side)
        first = (center * (side + 1 - size % 2)).long() - size // 2
        index = torch.arange(side, device=images.device) - first[:, None]
        inside.append((index >= 0) & (index < size))  # (B, side)
    hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return images.masked_fill(hole, 0.5)

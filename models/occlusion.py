"""Occlusion maps: the parts of an image that decide what a classifier says."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from models.activation_maximization import frozen
from runtime.errors import UserError


@torch.no_grad()
def occlusion_map(
    network: nn.Module,
    images: Tensor,
    targets: Tensor,
    size: int = 6,
    stride: int = 2,
    *,
    fill: float = 0.5,
    batch_size: int = 512,
    probabilities: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Computes the probability of the true class while a grey square covers each place in turn.

    Zeiler and Fergus 2013, "Visualizing and understanding convolutional networks", section 4.2.

    Args:
        network: Images (B, C, H, W) -> logits (B, classes); run in eval mode.
        images: Images (N, C, H, W).
        targets: True classes (N,), int64.
        size: Side of the square in pixels.
        stride: Pixels from one place to the next.
        fill: Value of the square's pixels.
        batch_size: Covered images per forward pass.
        probabilities: From logits (B, classes) to probabilities; None: softmax.

    Returns:
        Probabilities (N, H', W') with H' = (H - size) // stride + 1, and W' alike. Entry (i, j)
        is for the square with its corner at (i * stride, j * stride).
    """
    height, width = images.shape[-2:]
    if not 1 <= size <= min(height, width) or stride < 1:
        raise UserError(
            f"a square of size {size} and stride {stride} cannot scan {height} x {width} images: "
            f"choose a size of 1..{min(height, width)} and a stride of 1 or more"
        )
    places = _masks(height, width, size, stride).to(images.device)  # (H', W', H, W)
    masks = places.flatten(0, 1)
    found = []
    with frozen(network):
        for pair in torch.arange(len(images) * len(masks), device=images.device).split(batch_size):
            image, place = pair // len(masks), pair % len(masks)
            covered = images[image].masked_fill(masks[place][:, None], fill)  # (B, C, H, W)
            logits = network(covered).float()
            p = logits.softmax(dim=1) if probabilities is None else probabilities(logits)
            found.append(p.gather(1, targets[image][:, None])[:, 0])
    return torch.cat(found).view(len(images), *places.shape[:2])


def _masks(height: int, width: int, size: int, stride: int) -> Tensor:
    """Masks (H', W', H, W) of the pixels that the square at each place covers."""

    def covered(length: int) -> Tensor:  # (places, length)
        start = torch.arange(0, length - size + 1, stride)[:, None]
        pixel = torch.arange(length)
        return (pixel >= start) & (pixel < start + size)

    return covered(height)[:, None, :, None] & covered(width)[None, :, None, :]

"""Drawing images from a trained, or untrained, generator."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from models.gan import GAN


@contextmanager
def eval_mode(network: nn.Module) -> Iterator[None]:
    """Batch norm uses its running statistics inside, and dropout rests."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)


@torch.no_grad()
def sample(
    model: "GAN", latents: Tensor, labels: Tensor | None = None, batch_size: int = 500
) -> Tensor:
    """Images (N, 1, 28, 28) in [0, 1] for latents (N, latent_dim), drawn in eval mode."""
    with eval_mode(model.sampler):
        batches = [
            model(
                latents[i : i + batch_size],
                None if labels is None else labels[i : i + batch_size],
            )
            for i in range(0, len(latents), batch_size)
        ]
    return torch.cat(batches).float()

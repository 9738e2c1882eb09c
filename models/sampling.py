"""Drawing images from a trained, or untrained, generator."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from models.base import derive_seed

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


def to_pixels(images: Tensor) -> Tensor:
    """Images in [0, 1] -> uint8, as they are stored and judged."""
    return (images.float().clamp(0, 1) * 255).round().to(torch.uint8)


class Draw(NamedTuple):
    """What a generator is given for some images."""

    latents: Tensor  # (B, latent_dim)
    labels: Tensor | None  # (B,); None of an unconditional GAN
    places: Tensor  # (B,), the images' numbers among all that are drawn


class Draws:
    """The latents and labels of many images, block by block, as a function of seed and place.

    Image number i is the same however many are drawn and whichever process draws it. Labels take
    turns, so that every class is drawn equally often.

    Args:
        model: The GAN to draw for.
        count: Images, over all processes together.
        seed: Seed of the latents.
        classes: The classes to draw; by default all.
        first: The place of the first image, a multiple of `BLOCK`.
        rank: The place of this process among `world_size`, which take turns at the blocks, or,
            where there are fewer blocks than processes, at the images.
        world_size: The number of processes.
    """

    BLOCK = 500

    def __init__(
        self,
        model: "GAN",
        count: int,
        seed: int = 0,
        classes: Sequence[int] | None = None,
        first: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        assert first % self.BLOCK == 0
        self.model, self.seed, self.end = model, seed, first + count
        blocks = range(first, self.end, self.BLOCK)
        # Lightning's predict loop wants a batch on every process: few blocks are cut into rows.
        few = len(blocks) < world_size
        self.starts = blocks if few else blocks[rank::world_size]
        self.rows = slice(rank, None, world_size) if few else slice(None)
        num_classes = getattr(model, "num_classes", None)
        self.classes = None if num_classes is None else torch.tensor(classes or range(num_classes))

    def __len__(self) -> int:
        return sum(len(self._places(start)) > 0 for start in self.starts)

    def _places(self, start: int) -> Tensor:
        return torch.arange(start, min(start + self.BLOCK, self.end))[self.rows]

    def __iter__(self) -> Iterator[Draw]:
        for start in self.starts:
            random = torch.Generator().manual_seed(derive_seed(self.seed, start // self.BLOCK))
            latents, _ = self.model.draw(self.BLOCK, random)
            places = self._places(start)
            labels = None if self.classes is None else self.classes[places % len(self.classes)]
            if len(places):
                yield Draw(latents[places - start], labels, places)

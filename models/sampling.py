"""Sampling: images for given latents, and the latents of many images as a function of a seed."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from models.base import derive_seed, eval_mode
from models.generative import Draw, Generative


@torch.no_grad()
def sample(
    model: Generative, latents: Tensor, labels: Tensor | None = None, batch_size: int = 500
) -> Tensor:
    """Draws images (N, C, H, W) in [0, 1] for latents (N, latent_dim), in eval mode."""
    with eval_mode(model.sampler):
        parts = [slice(i, i + batch_size) for i in range(0, len(latents), batch_size)]
        batches = [model(latents[p], None if labels is None else labels[p]) for p in parts]
    return torch.cat(batches).float()


class Draws:
    """Latents and labels of many images, block by block, as a function of seed and place.

    Image number i does not depend on how many images are drawn or on which process draws it.
    Labels cycle through the classes that are given, so each of them is drawn equally often.

    Args:
        model: The model to draw for.
        count: Number of images over all processes together.
        seed: Seed of the latents.
        classes: The classes to draw, in turn; None: all.
        first: The place of the first image, a multiple of `BLOCK`.
        rank: This process among `world_size`, which share the blocks or, if these are few, images.
        world_size: The number of processes.
    """

    BLOCK = 500

    def __init__(
        self,
        model: Generative,
        count: int,
        seed: int = 0,
        classes: Sequence[int] | Tensor | None = None,
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
        known = model.num_classes
        turns = range(known or 0) if classes is None or not len(classes) else classes
        self.classes = None if known is None else torch.as_tensor(turns).cpu()

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

"""Sampling: images for given latents, and seeded latents of many images."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from models.base import derive_seed, eval_mode
from models.generative import Generative, LatentBatch


@torch.no_grad()
def generate(
    model: Generative, latents: Tensor, labels: Tensor | None = None, batch_size: int = 500
) -> Tensor:
    """Generates images (N, C, H, W) in [0, 1] for latents (N, latent_dim), in eval mode."""
    with eval_mode(model.eval_network):
        parts = [slice(i, i + batch_size) for i in range(0, len(latents), batch_size)]
        batches = [model(latents[p], None if labels is None else labels[p]) for p in parts]
    return torch.cat(batches).float()


class LatentBatches:
    """Latents and labels of many images, block by block, as a function of seed and index.

    Image number i does not depend on how many images are drawn or on which process draws it.
    Labels cycle through the classes that are given, so each of them is drawn equally often.

    Args:
        model: The model to draw for.
        count: Number of images over all processes together.
        seed: Seed of the latents.
        classes: The classes to draw, in turn; None: all.
        first: The index of the first image, a multiple of `BLOCK`.
        rank: This process of `world_size`. Processes share the blocks, or rows of a few blocks.
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
        return sum(len(self._indices(start)) > 0 for start in self.starts)

    def _indices(self, start: int) -> Tensor:
        return torch.arange(start, min(start + self.BLOCK, self.end))[self.rows]

    def __iter__(self) -> Iterator[LatentBatch]:
        for start in self.starts:
            random = torch.Generator().manual_seed(derive_seed(self.seed, start // self.BLOCK))
            latents, _ = self.model.draw_latents(self.BLOCK, random)
            indices = self._indices(start)
            labels = None if self.classes is None else self.classes[indices % len(self.classes)]
            if len(indices):
                yield LatentBatch(latents[indices - start], labels, indices)

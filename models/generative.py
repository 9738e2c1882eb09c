"""Models that draw images from noise: the contract of those that use them, and sampling."""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, TypeGuard

import torch
from torch import Tensor, nn

from models.base import Module, derive_seed, eval_mode

GRID_SIDE, GRID_COLUMNS = 5, 10  # of the sample grid: 5 x 5 images, or ten of each class


class Generative(Module):
    """A model that draws images from noise. Sample grids, scores and tools ask for nothing else.

    A subclass sets `image_shape` and `latent_dim`, and `num_classes` if it is told a class, and
    writes `forward`. The base draws latents and labels, and makes the sample grid.
    """

    image_shape: tuple[int, int, int]  # (C, H, W)
    latent_dim: int  # numbers of one latent
    latent: Literal["gaussian", "uniform"] = "gaussian"  # uniform: on [0, 1)
    num_classes: int | None = None  # None: it is not told a class

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Latents (B, latent_dim), labels (B,) -> images (B, C, H, W) in [0, 1]."""
        raise NotImplementedError

    @property
    def sampler(self) -> nn.Module:
        """The network to put into eval mode for sampling: a moving average if there is one."""
        return self

    def realness(self, images: Tensor, labels: Tensor | None = None) -> Tensor | None:
        """Computes logits (B,) for "these images (B, C, H, W) are real"; None without a judge."""
        return None

    def draw(self, count: int, random: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """Draws on the CPU: latents (count, latent_dim) and, if conditional, labels (count,)."""
        draw = torch.rand if self.latent == "uniform" else torch.randn
        latents = draw(count, self.latent_dim, generator=random)
        if self.num_classes is None:
            return latents, None
        return latents, torch.randint(self.num_classes, (count,), generator=random)

    @property
    def grid_rows(self) -> int:
        """Number of rows of the sample grid."""
        return self.num_classes or GRID_SIDE

    def sample_grid(self) -> tuple[Tensor, Tensor | None]:
        """Draws the latents and labels of the sample grid, the same ones during a whole run.

        A conditional model has one row for each class. A column shares its latent, so only the
        class differs.
        """
        random = torch.Generator().manual_seed(self.seed)
        if self.num_classes is None:
            return self.draw(GRID_SIDE**2, random)
        latents, _ = self.draw(GRID_COLUMNS, random)
        labels = torch.arange(self.num_classes).repeat_interleave(GRID_COLUMNS)
        return latents.repeat(self.num_classes, 1), labels

    def predict_step(self, batch: "Draw", batch_idx: int) -> dict[str, Tensor]:
        """Images uint8 (B, C, H, W), positions, and P(real) (B,) and labels if there are any."""
        images = self(batch.latents, batch.labels)
        found = {"images": to_pixels(images), "index": batch.places}
        if batch.labels is not None:
            found["labels"] = batch.labels
        logits = self.realness(images, batch.labels)
        return found if logits is None else found | {"scores": logits.float().sigmoid()}


def is_generative(model: object) -> TypeGuard[Generative]:
    """Returns whether a model fulfils the contract of `Generative`."""
    return all(hasattr(model, name) for name in ("image_shape", "latent_dim", "draw", "sampler"))


@torch.no_grad()
def sample(
    model: Generative, latents: Tensor, labels: Tensor | None = None, batch_size: int = 500
) -> Tensor:
    """Draws images (N, C, H, W) in [0, 1] for latents (N, latent_dim), in eval mode."""
    with eval_mode(model.sampler):
        parts = [slice(i, i + batch_size) for i in range(0, len(latents), batch_size)]
        batches = [model(latents[p], None if labels is None else labels[p]) for p in parts]
    return torch.cat(batches).float()


def to_pixels(images: Tensor) -> Tensor:
    """Converts images in [0, 1] to uint8, as they are stored and scored."""
    return (images.float().clamp(0, 1) * 255).round().to(torch.uint8)


class Draw(NamedTuple):
    """Inputs of a generator for one batch of images."""

    latents: Tensor  # (B, latent_dim)
    labels: Tensor | None  # (B,); None for an unconditional GAN
    places: Tensor  # (B,), the images' numbers among all that are drawn


class Draws:
    """Latents and labels of many images, block by block, as a function of seed and place.

    Image number i does not depend on how many images are drawn or on which process draws it.
    Labels cycle through the classes that are given, so each of them is drawn equally often.

    Args:
        model: The GAN to draw for.
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

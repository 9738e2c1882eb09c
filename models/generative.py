"""Base class of generative models: the interface that tools and callbacks use."""

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.base import Module, derive_seed
from models.distributed import local_rows
from runtime.errors import UserError

GRID_SIDE, GRID_COLUMNS = 5, 10  # of the sample grid: 5 x 5 images, or ten of each class


class LatentBatch(NamedTuple):
    """Inputs of a generator for one batch of images."""

    latents: Tensor  # (B, latent_dim)
    labels: Tensor | None  # (B,); None for an unconditional model
    indices: Tensor  # (B,), the images' numbers among all that are drawn


class Generative(Module):
    """A model that generates images from latents. Sample grids, scores and tools need nothing else.

    A subclass calls `set_shapes` in `__init__` and writes `forward`. The base draws latents and
    labels, and makes the sample grid.
    """

    image_shape: tuple[int, ...]  # (C, H, W), or (2,) of points in the plane
    latent_dim: int  # numbers of one latent
    latent: Literal["gaussian", "uniform"] = "gaussian"  # uniform: on [0, 1)
    num_classes: int | None = None  # None: unconditional
    steps: int | None = None  # of a solver, whose points `path` yields; None: one forward pass
    encodes = False  # True: a subclass has `encode`, so that real images can be reconstructed
    label_weights: Tensor | None = None  # (K,), how often training draws a class; None: equally

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Latents (B, latent_dim), labels (B,) -> images (B, C, H, W) in [0, 1]."""
        raise NotImplementedError

    def set_shapes(
        self, image_shape: tuple[int, ...], latent_dim: int, num_classes: int | None = None
    ) -> None:
        """Sets the attributes of these names, or refuses data that have no images."""
        if not image_shape:
            raise UserError(
                f"{type(self).__name__} generates images, and the data have none: choose a data "
                "set of images, such as --data Images, or another model"
            )
        self.image_shape, self.num_classes = tuple(image_shape), num_classes or None
        self.latent_dim = latent_dim

    @property
    def eval_network(self) -> nn.Module:
        """The network to put into eval mode for sampling: an EMA if there is one."""
        return self

    def realness(self, images: Tensor, labels: Tensor | None = None) -> Tensor | None:
        """Computes D's logits (B,) for "these images (B, C, H, W) are real"; None without a D."""
        return None

    def path(self, latents: Tensor, labels: Tensor | None = None) -> Iterator[Tensor] | None:
        """Yields latents, and the points after each of the `steps`; None: there are no steps."""
        return None

    def directions(self, points: Tensor, reals: Tensor) -> Tensor | None:
        """Returns where training moves points (N, ...), given real ones (M, ...); None: unknown."""
        return None

    def encode(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) -> mean and log variance of their latents, (B, latent_dim) each."""
        raise NotImplementedError

    def reconstruct(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images (B, C, H, W) -> their reconstructions, decoded from the mean latents."""
        return self(self.encode(images, labels)[0], labels)

    @property
    def cluster_limits(self) -> Tensor | None:
        """Boundaries (K - 1,) between the ranges of the last number of a latent.

        Each range selects a cluster, whose class vector replaces this number in the network's
        input. None: there are no clusters.
        """
        return None

    def networks(
        self, latents: Tensor, labels: Tensor | None, images: Tensor
    ) -> dict[str, tuple[nn.Module, Callable[[], Any]]]:
        """Returns each network by its name, with a function that calls it once, to draw it."""
        return {
            "generator": (self.eval_network, lambda: self(latents, labels)),
            "discriminator": (self, lambda: self.realness(images, labels)),
        }

    def draw_latents(self, count: int, random: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """Draws on the CPU: latents (count, latent_dim) and, if conditional, labels (count,)."""
        draw = torch.rand if self.latent == "uniform" else torch.randn
        latents = draw(count, self.latent_dim, generator=random)
        if self.num_classes is None:
            return latents, None
        return latents, torch.randint(self.num_classes, (count,), generator=random)

    def local_latents(self, count: int, random: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """Draws inputs of the global training batch; returns this rank's `count`, on its device."""
        total = count * self.trainer.world_size
        latents, labels = self.draw_latents(total, random)
        if self.label_weights is not None:
            labels = self.label_weights.multinomial(total, replacement=True, generator=random)
        rows = slice(self.global_rank * count, (self.global_rank + 1) * count)
        latents = latents[rows].to(self.device, non_blocking=True)
        if labels is not None:
            labels = labels[rows].to(self.device, non_blocking=True)
        return latents, labels

    def append_class_vectors(self, values: Tensor, labels: Tensor | None) -> Tensor:
        """Concatenates values (B, N) with class vectors.

        These are scaled to about the norm of the values, beside which a plain one-hot vector would
        have little effect. The autoencoder and drift do so; a GAN's generator gets them unscaled.
        """
        if labels is None or self.num_classes is None:
            return values
        length: float = values.shape[1] ** 0.5
        return torch.cat([values, length * self.class_vectors(labels, values)], dim=1)

    def class_vectors(self, labels: Tensor | None, like: Tensor) -> Tensor:
        """Returns labels (B,), or mixtures (B, K), as class vectors (B, K); zeros for None."""
        if labels is None or self.num_classes is None:
            return like.new_zeros(like.shape[0], self.num_classes or 0)
        if not labels.is_floating_point():
            labels = F.one_hot(labels, self.num_classes)
        return labels.to(like.dtype)

    def evaluation_noise(self, images: Tensor, batch_idx: int) -> tuple[Tensor, Tensor]:
        """Draws latents (B, latent_dim), and spreads times (B,) evenly between 0 and 1.

        They are the same in each epoch, and do not depend on how many processes share a batch.
        """
        total, own = local_rows(images)
        random = torch.Generator().manual_seed(derive_seed(0, batch_idx))
        latents = torch.randn(total, self.latent_dim, generator=random)[own].to(images)
        return latents, ((torch.arange(total) + 0.5) / total)[own].to(images)

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
            return self.draw_latents(GRID_SIDE**2, random)
        latents, _ = self.draw_latents(GRID_COLUMNS, random)
        labels = torch.arange(self.num_classes).repeat_interleave(GRID_COLUMNS)
        return latents.repeat(self.num_classes, 1), labels

    def predict_step(self, batch: LatentBatch, batch_idx: int) -> dict[str, Tensor]:
        """Images uint8 (B, C, H, W), positions, and P(real) (B,) and labels if there are any."""
        images = self(batch.latents, batch.labels)
        prediction = {"images": to_pixels(images), "index": batch.indices}
        if batch.labels is not None:
            prediction["labels"] = batch.labels
        logits = self.realness(images, batch.labels)
        return prediction if logits is None else prediction | {"scores": logits.float().sigmoid()}


def to_pixels(images: Tensor) -> Tensor:
    """Converts images in [0, 1] to uint8, as they are stored and scored."""
    return (images.float().clamp(0, 1) * 255).round().to(torch.uint8)

"""A GAN that is conditioned on clusters of the training images, and the clustering."""

import math
import warnings
from copy import copy
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.gan.conditional_discriminators import ProjectionDiscriminator
from models.gan.discriminator import DiscriminatorCallable
from models.gan.gan import GAN
from models.gan.networks import GeneratorCallable, ImageShape, ModernGenerator
from runtime.errors import UserError
from runtime.ranges import Positive

DESCRIBED_SIDE = 28  # images are shrunk toward this side before their edges are described
CELL = 4  # pixels
DIRECTIONS = 8
CENTERS, IMAGES_PER_CENTER = 2000, 8
CENTER_NEIGHBORS = 5


class SelfConditionedGAN(GAN):
    """A conditional GAN that finds its classes itself: clusters of the training images.

    A generator is continuous, so it also generates images between separate shapes, such as digits.
    Here the last number of the latent selects a cluster, and the generator gets the cluster instead
    of the number (similar to Liu et al. 2020, "Diverse image generation via self-conditioned GANs",
    who cluster the discriminator's features). Labels are not used, and sampling is that of `GAN`.

    Args:
        image_shape: (C, H, W) of the data's images.
        clusters: Number of clusters.
        generator: From (input_dim, image_shape) to the generator.
        discriminator: From (trunk, num_features, clusters) to the discriminator with its losses.
        **gan: As for `GAN`.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        clusters: Positive = 20,
        generator: GeneratorCallable = ModernGenerator,
        discriminator: DiscriminatorCallable = ProjectionDiscriminator,
        **gan: Any,
    ) -> None:
        self.num_clusters = clusters  # before the networks, whose sizes depend on it
        super().__init__(image_shape, generator=generator, discriminator=discriminator, **gan)
        self.clusters = Clusters(clusters, image_shape, self.latent == "uniform")

    @property
    def generator_input_dim(self) -> int:
        return self.latent_dim - 1 + self.num_clusters

    @property
    def num_conditions(self) -> int:
        return self.num_clusters

    @property
    def cluster_limits(self) -> Tensor:
        return self.clusters.limits

    def on_train_start(self) -> None:
        if self.global_step == 0:  # a continued run keeps its clusters
            self.clusters.learn(self._training_images(), self.seed)
            for buffer in self.clusters.buffers():
                buffer.copy_(cast(Any, self.trainer.strategy).broadcast(buffer))

    def _training_images(self) -> Tensor:
        """Returns descriptions of one epoch's images, in an order independent of the world size."""
        descriptions = []
        for batch in copy(cast(Any, self.trainer.train_dataloader)):
            images, _ = self.trainer.strategy.batch_to_device(batch, dataloader_idx=0)
            descriptions.append(cast(Tensor, self.all_gather(self.clusters.describe(images))))
        return torch.cat([part.flatten(0, -2) for part in descriptions])

    def condition(self, images: Tensor, labels: Tensor | None) -> Tensor:
        return self.clusters.of_images(images)

    def generator_input(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """Replaces the last number of the latents (B, latent_dim) by its cluster, as a vector."""
        return torch.cat([latents[:, :-1], self.clusters.one_hot(latents[:, -1])], dim=1)

    def local_latents(self, count: int, random: torch.Generator) -> tuple[Tensor, Tensor | None]:
        latents, _ = super().local_latents(count, random)
        return latents, self.clusters.of_noise(latents[:, -1])


class Clusters(nn.Module):
    """K clusters of the training images, of any shape.

    An image is described by the directions of its edges. k-means finds many small clusters of
    these descriptions, and spectral clustering joins neighboring ones until K are left (landmarks
    as in Chen and Cai 2011, "Large scale spectral clustering with landmark-based representation").

    One number of the latent selects the cluster of a generated image. Each cluster has a range of
    that number, whose probability is the cluster's frequency among the training images.

    Args:
        count: Number of clusters K.
        image_shape: (C, H, W).
        uniform: The number is uniform on [0, 1), not normal.
    """

    centres: Tensor  # (M, D), descriptions; some may be repeated
    cluster_of_centre: Tensor  # (M,)
    limits: Tensor  # (K - 1,), the boundaries between the ranges

    def __init__(self, count: int, image_shape: ImageShape, uniform: bool) -> None:
        super().__init__()
        self.count, self.uniform = count, uniform
        self.factor = max(1, min(image_shape[1:]) // DESCRIBED_SIDE)
        size = self.describe(torch.zeros(1, *image_shape)).shape[1]
        self.register_buffer("centres", torch.zeros(max(CENTERS, 4 * count), size))
        self.register_buffer("cluster_of_centre", torch.zeros(len(self.centres), dtype=torch.long))
        self.register_buffer("limits", self._limits(torch.ones(count)))

    def learn(self, descriptions: Tensor, seed: int) -> None:
        """Finds the clusters of images by their descriptions (N, D).

        Raises:
            UserError: There are fewer different images than clusters.
        """
        centers = self._small_clusters(descriptions, seed)
        centers = centers[_nearest(descriptions, centers).unique()]
        if len(centers) < self.count:
            raise UserError(
                f"model.clusters is {self.count}, and there are {len(centers)} different training "
                "images: set it to fewer, a tenth of them for example"
            )
        labels = self._join(centers, seed)
        rows = torch.arange(len(self.centres), device=labels.device) % len(centers)
        self.centres.copy_(centers[rows])
        self.cluster_of_centre.copy_(labels[rows])
        sizes = labels[_nearest(descriptions, centers)].bincount(minlength=self.count)
        self.limits.copy_(self._limits(sizes))

    def _small_clusters(self, descriptions: Tensor, seed: int) -> Tensor:
        """Returns the centers (M, D) of many small clusters: of few images, the images."""
        images = len(descriptions)
        count = min(len(self.centres), max(4 * self.count, images // IMAGES_PER_CENTER))
        if count >= images:
            return descriptions
        from sklearn.cluster import MiniBatchKMeans  # takes a second to import

        means = MiniBatchKMeans(count, init="random", n_init=1, batch_size=4096, random_state=seed)
        means.fit(descriptions.cpu().numpy())
        return torch.from_numpy(means.cluster_centers_).to(descriptions)

    def _join(self, centers: Tensor, seed: int) -> Tensor:
        """Returns the cluster (M,) of each center (M, D)."""
        if len(centers) == self.count:
            return torch.arange(self.count, device=centers.device)
        from sklearn.cluster import SpectralClustering

        neighbors = min(CENTER_NEIGHBORS, len(centers) - 1)
        spectral = SpectralClustering(
            self.count, affinity="nearest_neighbors", n_neighbors=neighbors, random_state=seed
        )
        with warnings.catch_warnings(action="ignore"):  # groups may be far from each other
            clusters = spectral.fit_predict(centers.cpu().numpy())
        return torch.from_numpy(clusters).to(centers.device, torch.long)

    def describe(self, images: Tensor) -> Tensor:
        """Describes images (B, C, H, W) by the directions of their edges, as vectors (B, D).

        The strength of each direction, averaged over cells of the image (histograms of oriented
        gradients: Dalal and Triggs 2005). A vector has length 1, so contrast does not count. The
        vector of a blank image is 0.
        """
        images = F.avg_pool2d(images.detach().float(), self.factor)
        across = F.pad(images[..., :, 2:] - images[..., :, :-2], (1, 1))
        down = F.pad(images[..., 2:, :] - images[..., :-2, :], (0, 0, 1, 1))
        length = (across.square() + down.square() + 1e-6).sqrt()
        cells = []
        for angle in (math.tau * k / DIRECTIONS for k in range(DIRECTIONS)):
            part = (across * math.cos(angle)).add_(down, alpha=math.sin(angle)).clamp_(min=0)
            part = part.square_().div_(length)
            cells.append(F.avg_pool2d(part, CELL + 2, stride=CELL, padding=1))
        return F.normalize(torch.cat(cells, dim=1).flatten(1), dim=1)

    def of_images(self, images: Tensor) -> Tensor:
        """Returns the clusters (B,) of images (B, C, H, W): those of the nearest centers."""
        with torch.autocast(images.device.type, enabled=False):
            return self.cluster_of_centre[_nearest(self.describe(images), self.centres)]

    def of_noise(self, noise: Tensor) -> Tensor:
        """Returns the clusters (B,) that numbers (B,) of latents decide."""
        return (noise[:, None] >= self.limits).sum(dim=1)

    def one_hot(self, noise: Tensor) -> Tensor:
        """Returns these clusters as vectors (B, K)."""
        clusters = torch.arange(self.count, device=noise.device)
        return (self.of_noise(noise)[:, None] == clusters).to(noise.dtype)

    def _limits(self, sizes: Tensor) -> Tensor:
        sizes = sizes.cpu().double()  # Apple's GPUs have no float64
        ends = (sizes.cumsum(0) / sizes.sum())[:-1]
        return (ends if self.uniform else torch.special.ndtri(ends)).float()


def _nearest(points: Tensor, centers: Tensor) -> Tensor:
    """Returns the numbers (N,) of the centers nearest to points (N, D)."""
    centers = centers.to(points.dtype)  # a model's buffers follow its precision
    sizes = centers.square().sum(dim=1)
    return torch.cat([(sizes - 2 * part @ centers.T).argmin(dim=1) for part in points.split(4096)])

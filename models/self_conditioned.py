"""A GAN whose two networks know an image's cluster; what that adds to `GAN`, and nothing else."""

from copy import copy
from typing import Any, cast

import torch
from torch import Tensor, nn

from models.clusters import Clusters
from models.gan import GAN
from models.gan_heads import ProjectionHead
from models.gan_networks import GeneratorCallable, ImageShape
from models.head import HeadCallable
from runtime.ranges import Positive


class SelfConditionedGAN(GAN):
    """A conditional GAN that finds its classes itself: clusters of the training images.

    A continuous latent draws images between separate shapes, such as digits, because a generator is
    continuous. Here the last number of the latent decides a cluster, and the generator gets the
    cluster instead of the number (in the spirit of Liu et al. 2020, "Diverse image generation via
    self-conditioned GANs", who cluster the discriminator's features). Labels are not used. To draw
    images with it is to draw images with `GAN`.

    Args:
        image_shape: (C, H, W) of the data's images.
        clusters: Number of clusters.
        head: From (trunk, num_features, clusters) to the discriminator with its losses.
        **gan: As for `GAN`.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        clusters: Positive = 20,
        head: HeadCallable = ProjectionHead,
        **gan: Any,
    ) -> None:
        self.num_clusters = clusters
        super().__init__(image_shape, head=head, **gan)
        self.clusters = Clusters(clusters, image_shape, self.latent == "uniform")

    @property
    def num_conditions(self) -> int:
        return self.num_clusters

    def build_generator(self, generator: GeneratorCallable) -> nn.Module:
        return generator(self.latent_dim - 1 + self.num_clusters, self.image_shape)

    def on_train_start(self) -> None:
        super().on_train_start()
        if self.global_step == 0:  # a continued run keeps its clusters
            self.clusters.learn(self._training_images(), self.seed)
            for buffer in self.clusters.buffers():
                buffer.copy_(cast(Any, self.trainer.strategy).broadcast(buffer))

    def _training_images(self) -> Tensor:
        """Returns descriptions of one epoch's images, in an order that no world size changes."""
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

    def draw_share(self, count: int, random: torch.Generator) -> tuple[Tensor, Tensor | None]:
        latents, _ = super().draw_share(count, random)
        return latents, self.clusters.of_noise(latents[:, -1])

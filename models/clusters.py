"""Clusters of images, the discrete part of a generator's latent."""

import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn

SIDE = 14  # at least, of the small copies that are compared


class Clusters(nn.Module):
    """The K clusters that k-means finds among small copies of the training images.

    One number of the latent decides the cluster of an image that is generated. Each cluster gets a
    range of that number, as probable as the cluster is frequent among the training images.

    Args:
        count: Number of clusters K.
        image_shape: (C, H, W).
        uniform: The number is uniform on [0, 1), not normal.
    """

    centres: Tensor  # (K, D), small copies
    limits: Tensor  # (K - 1,), where one range ends and the next begins

    def __init__(self, count: int, image_shape: tuple[int, int, int], uniform: bool) -> None:
        super().__init__()
        self.count, self.uniform = count, uniform
        self.factor = max(1, min(image_shape[1:]) // SIDE)
        size = self.small_copies(torch.zeros(1, *image_shape)).shape[1]
        self.register_buffer("centres", torch.zeros(count, size))
        self.register_buffer("limits", self._limits(torch.ones(count)))

    def learn(self, copies: Tensor, seed: int) -> None:
        """Finds the clusters of small copies (N, D) of images.

        Raises:
            MisconfigurationException: There are fewer images than clusters.
        """
        if len(copies) < self.count:
            raise MisconfigurationException(
                f"model.clusters is {self.count}, and there are {len(copies)} training images: "
                "set it to fewer, a tenth of them for example"
            )
        from sklearn.cluster import MiniBatchKMeans  # takes a second to import

        means = MiniBatchKMeans(self.count, batch_size=2048, n_init=3, random_state=seed)
        nearest = torch.from_numpy(means.fit_predict(copies.cpu().numpy()))
        self.centres.copy_(torch.from_numpy(means.cluster_centers_))
        self.limits.copy_(self._limits(nearest.long().bincount(minlength=self.count)))

    def small_copies(self, images: Tensor) -> Tensor:
        """Shrinks images (B, C, H, W) by a whole number, to vectors (B, D) of float32."""
        return F.avg_pool2d(images.detach().float(), self.factor).flatten(1)

    def of_images(self, images: Tensor) -> Tensor:
        """Returns the cluster (B,) whose centre is nearest to each image (B, C, H, W)."""
        with torch.autocast(images.device.type, enabled=False):
            products = self.small_copies(images) @ self.centres.T  # (B, K)
            return (self.centres.square().sum(dim=1) - 2 * products).argmin(dim=1)

    def of_noise(self, noise: Tensor) -> Tensor:
        """Returns the clusters (B,) that numbers (B,) of latents decide."""
        return (noise[:, None] >= self.limits).sum(dim=1)

    def one_hot(self, noise: Tensor) -> Tensor:
        """Returns these clusters as vectors (B, K)."""
        return F.one_hot(self.of_noise(noise), self.count).to(noise.dtype)

    def _limits(self, sizes: Tensor) -> Tensor:
        ends = (sizes.double().cumsum(0) / sizes.sum())[:-1]
        return (ends if self.uniform else torch.special.ndtri(ends)).float()

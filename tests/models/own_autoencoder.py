"""A generative model in a file outside the project: an autoencoder that draws from its codes."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.generative import Generative


class Autoencoder(Generative):
    """Encodes images as numbers that are drawn toward a normal distribution, and decodes them.

    Args:
        image_shape: (C, H, W).
        latent_dim: Numbers of a code.
        hidden: Units of the hidden layers.
        lr: Learning rate.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: int = 8,
        hidden: int = 64,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.image_shape, self.latent_dim, self.lr = image_shape, latent_dim, lr
        pixels = image_shape[0] * image_shape[1] * image_shape[2]
        self.encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(pixels, hidden), nn.ReLU(), nn.Linear(hidden, latent_dim)
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, hidden), nn.ReLU(), nn.Linear(hidden, pixels),
            nn.Unflatten(1, image_shape),
        )  # fmt: skip

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Latents (B, latent_dim) -> images (B, C, H, W) in [0, 1]."""
        return self.decoder(latents).sigmoid()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, codes = batch[0], self.encoder(batch[0])
        noise = torch.randn(codes.shape, generator=self.batch_rng(batch_idx)).to(codes)
        loss = F.binary_cross_entropy_with_logits(self.decoder(codes + 0.1 * noise), images)
        loss = loss + 0.01 * (codes.mean(0).square() + (codes.var(0) - 1).square()).mean()
        self.log_means({"loss": loss.detach()})
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=self.lr)

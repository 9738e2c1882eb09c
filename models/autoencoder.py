"""A variational autoencoder: encodes images as a few numbers and decodes these."""

from collections.abc import Callable
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.distributed import draw_local
from models.gan.networks import (
    GeneratorCallable,
    ModernGenerator,
    ModernTrunk,
    TrunkCallable,
    count_features,
)
from models.generative import Generative
from models.layers import full_precision
from models.training import OneNetwork
from runtime.ranges import NonNegativeFloat, Positive, PositiveFloat

Parts = dict[str, Tensor]  # of a loss, scalars


class EncoderDecoder(nn.ModuleDict):
    """The networks of an autoencoder: `trunk` and `posterior`, which encode, and `decoder`."""


class VariationalAutoencoder(OneNetwork, Generative):
    """An encoder to a normal distribution of latents, and a decoder back (Kingma and Welling 2014).

    Training maximizes the evidence lower bound, ELBO = E[log p(image | latent)] - KL(q || N(0, 1)),
    in nats per image. The decoder alone generates images from normal latents.

    Args:
        image_shape: (C, H, W) of the data's images.
        num_classes: Number of classes; both networks get the class vector. None: unconditional.
        encoder: From image_shape to the encoder up to its last layer.
        decoder: From (input_dim, image_shape) to the decoder.
        conditional: Give the class to the model, if the data have classes.
        latent_dim: Size of the latent.
        likelihood: Of a pixel: `bernoulli`, or `gaussian` with the standard deviation `sigma`.
        sigma: See `likelihood`.
        beta: Weight of the KL divergence in the loss (Burgess et al. 2018); 1: the ELBO's.
        **training: As for `OneNetwork`.
    """

    encodes = True

    def __init__(
        self,
        image_shape: tuple[int, ...],
        num_classes: int | None = None,
        encoder: TrunkCallable = ModernTrunk,
        decoder: GeneratorCallable = ModernGenerator,
        conditional: bool = True,
        latent_dim: Positive = 16,
        likelihood: Literal["bernoulli", "gaussian"] = "bernoulli",
        sigma: PositiveFloat = 0.1,
        beta: NonNegativeFloat = 1.0,
        **training: Any,
    ) -> None:
        super().__init__(**training)
        self.set_shapes(image_shape, latent_dim, num_classes if conditional else None)
        classes = self.num_classes or 0
        self.likelihood, self.sigma, self.beta = likelihood, sigma, beta
        trunk = encoder(self.image_shape)
        features = count_features(trunk, self.image_shape)
        parts: dict[str, nn.Module] = {
            "trunk": trunk,
            "posterior": nn.Linear(features + classes, 2 * latent_dim),
            "decoder": decoder(latent_dim + classes, self.image_shape),
        }
        self.set_network(EncoderDecoder(parts))

    @property
    def eval_network(self) -> nn.Module:
        """The decoder to sample with: that of the EMA if there is one."""
        decoder: nn.Module = cast(Any, super().eval_network)["decoder"]
        return decoder

    def networks(
        self, latents: Tensor, labels: Tensor | None, images: Tensor
    ) -> dict[str, tuple[nn.Module, Callable[[], Any]]]:
        return {
            "encoder": (cast(nn.Module, self.active), lambda: self.encode(images, labels)),
            "decoder": (self.eval_network, lambda: self(latents, labels)),
        }

    def encode(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        network = cast(Any, self.active)
        features = network["trunk"](images.to(self.dtype))
        both = full_precision(network["posterior"](self.append_class_vectors(features, labels)))
        mean, log_variance = both.chunk(2, dim=1)
        return mean, log_variance

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Latents (B, latent_dim), classes (B,) or (B, K) -> images (B, C, H, W) in [0, 1]."""
        return self._decode(self.eval_network, latents, labels)

    def _decode(self, decoder: nn.Module, latents: Tensor, labels: Tensor | None) -> Tensor:
        images: Tensor = decoder(self.append_class_vectors(latents.to(self.dtype), labels))
        return images.clamp(0, 1)

    def elbo(self, images: Tensor, labels: Tensor | None, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Returns log likelihoods (B,) and KL divergences (B, latent_dim), in nats."""
        mean, log_variance = self.encode(images, labels)
        latents = mean + (log_variance / 2).exp() * noise
        decoded = self._decode(cast(Any, self.active)["decoder"], latents, labels)
        return self.log_likelihood(decoded, images), kl(mean, log_variance)

    def log_likelihood(self, decoded: Tensor, images: Tensor) -> Tensor:
        """Log likelihoods (B,) of images given the decoded ones, both (B, C, H, W)."""
        with torch.autocast(images.device.type, enabled=False):
            decoded = full_precision(decoded).flatten(1)
            images = images.to(decoded.dtype).flatten(1)
            if self.likelihood == "bernoulli":
                return -F.binary_cross_entropy(decoded, images, reduction="none").sum(dim=1)
            spread = torch.full_like(decoded, self.sigma**2)
            losses = F.gaussian_nll_loss(decoded, images, spread, full=True, reduction="none")
            return -losses.sum(dim=1)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        noise = draw_local(torch.randn, len(images), self.latent_dim, device=images.device)
        likelihoods, divergences = self.elbo(images, labels, noise)
        loss = self.beta * divergences.mean(dim=0).sum() - likelihoods.mean()
        self.log_means({"loss": loss.detach()} | _parts_of(likelihoods, divergences))
        return loss

    def evaluate(self, batch: tuple[Tensor, Tensor], batch_idx: int, stage: str) -> None:
        """Logs the ELBO with the same noise in each epoch."""
        images, labels = batch
        noise, _ = self.evaluation_noise(images, batch_idx)
        parts = _parts_of(*self.elbo(images, labels, noise))
        self.log_means_of_examples({f"{stage}/{k}": v for k, v in parts.items()}, len(images))


def kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence of N(mean, exp(log_variance)) from N(0, 1), elementwise, in nats."""
    return (mean.square() + log_variance.exp() - 1 - log_variance) / 2


def _parts_of(likelihoods: Tensor, divergences: Tensor) -> Parts:
    error, divergence = -likelihoods.detach().mean(), divergences.detach().sum(dim=1).mean()
    return {"reconstruction": error, "kl": divergence, "elbo": -error - divergence}

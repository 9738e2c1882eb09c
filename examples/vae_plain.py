"""The variational autoencoder on one page of plain PyTorch: images to a few numbers, and back.

    python examples/vae_plain.py --data data --epochs 10

It downloads MNIST into the folder, or takes scikit-learn's small digits, and writes a grid of
images, a row for each digit, after every epoch. An epoch of the small digits takes 0.3 CPU-seconds
on a core of an AMD EPYC, one of MNIST 33 times as long. Ladder's form of it, with larger networks
and scores: python cli.py fit --config configs/vae.yaml
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.datasets import MNIST
from torchvision.utils import save_image

LATENTS = 16  # numbers of one image
DIGITS = 10
BATCH_SIZE = 128


def make_encoder() -> nn.Sequential:
    """Returns the network from images (B, 1, 28, 28) to features (B, 1568)."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
    )


def make_decoder() -> nn.Sequential:
    """Returns the network from latents and a digit, (B, 26), to images (B, 1, 28, 28)."""
    return nn.Sequential(
        nn.Linear(LATENTS + DIGITS, 256),
        nn.ReLU(),
        nn.Linear(256, 32 * 7 * 7),
        nn.ReLU(),
        nn.Unflatten(1, (32, 7, 7)),
        nn.ConvTranspose2d(32, 16, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 1, 4, stride=2, padding=1),
        nn.Sigmoid(),
    )


class Autoencoder(nn.Module):
    """The encoder, a layer from its features to mean and log variance, and the decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.decoder = make_encoder(), make_decoder()
        self.posterior = nn.Linear(32 * 7 * 7 + DIGITS, 2 * LATENTS)

    def encode(self, images: Tensor, digits: Tensor) -> tuple[Tensor, Tensor]:
        """Returns mean and log variance (B, 16) of the latents of images (B, 1, 28, 28)."""
        return self.posterior(with_digit(self.trunk(images), digits)).chunk(2, dim=1)

    def decode(self, latents: Tensor, digits: Tensor) -> Tensor:
        """Returns images (B, 1, 28, 28) in [0, 1] of latents (B, 16)."""
        return self.decoder(with_digit(latents, digits))


def with_digit(values: Tensor, digits: Tensor) -> Tensor:
    """Joins values (B, N) and one-hot digits that are about as long as they are."""
    return torch.cat([values, values.shape[1] ** 0.5 * F.one_hot(digits, DIGITS)], dim=1)


def loss_terms(
    network: Autoencoder, images: Tensor, digits: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """Computes the two terms of the loss, in nats per image.

    The first is the error of the reconstruction: minus the log likelihood of the pixels. The second
    is the Kullback-Leibler divergence of the latents' distribution from a normal one. It pulls the
    latents to where new ones are drawn.
    """
    mean, log_variance = network.encode(images, digits)
    latents = mean + (log_variance / 2).exp() * noise
    decoded = network.decode(latents, digits)
    error = F.binary_cross_entropy(decoded, images, reduction="sum") / len(images)
    divergence = (mean.square() + log_variance.exp() - 1 - log_variance) / 2
    return error, divergence.sum() / len(images)


def batches(images: Tensor, digits: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields all images once, in a new order, as floats in [0, 1]."""
    for places in torch.randperm(len(images)).split(BATCH_SIZE):
        yield images[places, None].float() / 255, digits[places]


def train(images: Tensor, digits: Tensor, epochs: int, folder: Path) -> Autoencoder:
    """Trains a network on images uint8 (N, 28, 28) and digits (N,), and returns it."""
    network = Autoencoder()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    labels = torch.arange(DIGITS).repeat_interleave(10)
    seeds = torch.randn(len(labels), LATENTS)
    for epoch in range(epochs):
        for real, known in batches(images, digits):
            error, divergence = loss_terms(network, real, known, torch.randn(len(real), LATENTS))
            optimizer.zero_grad()
            (error + divergence).backward()
            optimizer.step()
        text = f"reconstruction {error.item():.1f}, divergence {divergence.item():.1f} nats"
        print(f"Epoch {epoch + 1}: {text}", flush=True)
        with torch.no_grad():
            grid = network.decode(seeds, labels)
        save_image(grid, folder / f"vae_plain_{epoch + 1:03d}.png", nrow=10)
    return network


def load_images(folder: str) -> tuple[Tensor, Tensor]:
    """Returns MNIST's images uint8 (N, 28, 28) and digits, or those of scikit-learn."""
    try:
        mnist = MNIST(folder, download=True)
    except (RuntimeError, OSError):
        from sklearn.datasets import load_digits

        print(f"MNIST is not in {folder} and cannot be downloaded: small digits instead.")
        small = torch.from_numpy(load_digits().images)[:, None] / 16
        large = F.interpolate(small, (28, 28), mode="bicubic")[:, 0].clamp(0, 1)
        return (large * 255).to(torch.uint8), torch.from_numpy(load_digits().target).long()
    return mnist.data, mnist.targets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", default="data", help="folder of MNIST")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("."), help="folder of the pictures")
    options = parser.parse_args()
    torch.manual_seed(0)
    train(*load_images(options.data), options.epochs, options.out)


if __name__ == "__main__":
    main()

"""Flow matching on one page of plain PyTorch: a network that moves noise to digits.

    python examples/flow_plain.py --data data --epochs 10

It downloads MNIST into the folder, or takes scikit-learn's small digits, and writes a grid of
images, a row for each digit, after every epoch. An epoch of the small digits takes 13 CPU-seconds
on a core of an AMD EPYC, one of MNIST 33 times as long. Ladder's form, with a larger network,
guidance and scores: python cli.py fit --config configs/flow.yaml
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.datasets import MNIST
from torchvision.utils import save_image

DIGITS = 10
BATCH_SIZE = 64
STEPS = 20  # from noise to an image
MIN_LEFT = 0.05  # smallest 1 - t that the loss divides by


class Network(nn.Module):
    """Predicts the clean image from a point between noise and image, its time and its digit."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(2 + DIGITS, 2 * width), nn.SiLU())
        self.enter = nn.Conv2d(1, width, 3, padding=1)
        self.shrink = nn.Conv2d(width, 2 * width, 4, stride=2, padding=1)
        self.inner = nn.ModuleList(nn.Conv2d(2 * width, 2 * width, 3, padding=1) for _ in range(4))
        self.tell = nn.ModuleList(nn.Linear(2 * width, 2 * width) for _ in range(4))
        self.enlarge = nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1)
        self.leave = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, points: Tensor, times: Tensor, digits: Tensor) -> Tensor:
        """Points (B, 1, 28, 28), times (B,), one-hot digits (B, 10) -> images (B, 1, 28, 28)."""
        angles = times[:, None] * torch.pi / 2
        embedding = self.embed(torch.cat([angles.sin(), angles.cos(), digits], dim=1))
        fine = F.silu(self.enter(points))
        coarse = self.shrink(fine)
        for convolution, tell in zip(self.inner, self.tell, strict=True):
            coarse = coarse + convolution(F.silu(coarse + tell(embedding)[:, :, None, None]))
        return self.leave(F.silu(fine + self.enlarge(coarse)))


def flow_loss(
    network: nn.Module, images: Tensor, digits: Tensor, noise: Tensor, times: Tensor
) -> Tensor:
    """Computes the mean squared error of the velocity at points between noise and images.

    At time t a point is (1 - t) noise + t image and moves with image - noise. The network predicts
    the image, so the error of the velocity is that of the image over 1 - t.
    """
    images, along = 2 * images - 1, times[:, None, None, None]
    points = (1 - along) * noise + along * images
    clean = network(points, times, F.one_hot(digits, DIGITS).to(images.dtype))
    return ((clean - images) / (1 - along).clamp(min=MIN_LEFT)).square().mean()


@torch.no_grad()
def generate(network: nn.Module, noise: Tensor, digits: Tensor) -> Tensor:
    """Moves noise (B, 1, 28, 28) along the velocity to images in [0, 1], in equal steps of time."""
    points, classes = noise, F.one_hot(digits, DIGITS).to(noise.dtype)
    for step in range(STEPS):
        time = step / STEPS
        clean = network(points, points.new_full((len(points),), time), classes)
        points = points + (clean - points) / (1 - time) / STEPS
    return ((points + 1) / 2).clamp(0, 1)


def batches(images: Tensor, digits: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields all images once, in a new order, as floats in [0, 1]."""
    for places in torch.randperm(len(images)).split(BATCH_SIZE):
        yield images[places, None].float() / 255, digits[places]


def train(images: Tensor, digits: Tensor, epochs: int, folder: Path) -> nn.Module:
    """Trains a network on images uint8 (N, 28, 28) and digits (N,), and returns it."""
    network = Network()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    labels = torch.arange(DIGITS).repeat_interleave(10)
    seeds = torch.randn(len(labels), 1, 28, 28)
    for epoch in range(epochs):
        for real, known in batches(images, digits):
            times = torch.randn(len(real)).sigmoid()  # more of them in the middle
            loss = flow_loss(network, real, known, torch.randn_like(real), times)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"Epoch {epoch + 1}: loss {loss.item():.3f}", flush=True)
        save_image(
            generate(network, seeds, labels), folder / f"flow_plain_{epoch + 1:03d}.png", nrow=10
        )
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

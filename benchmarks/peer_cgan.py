"""Public conditional GANs for MNIST, written from their descriptions in plain PyTorch.

    python -m benchmarks.peer_cgan dcgan --cpu-seconds 600 --out samples.npz

`dcgan`: the convolutional GAN of Bie, Kamath and Zhang 2023, "Private GANs, Revisited"
(arXiv 2302.02936, github.com/alexbie98/dpgan-revisit, its MNIST setting without privacy). Of the
conditional GANs for MNIST that publish scores, it has the best: Inception FID 3.4 after 45,000
steps, and 97.1 % for a classifier trained on its images.

`mlp`: the fully connected GAN of github.com/eriklindernoren/PyTorch-GAN (cgan) at 28 x 28 pixels,
after Mirza and Osindero 2014, "Conditional Generative Adversarial Nets" (arXiv 1411.1784).

Layers, losses, learning rates and batch sizes are the authors', in float32. The differences cost a
peer nothing: batches are shuffled epochs for both, where `dcgan` draws each image with a
probability; D's weights get no gradient in G's turn; samples are drawn in eval mode. `--bf16` is
not the authors': it shows the share of the number format in a comparison. The data are read with
this project's `Images`; the rest is PyTorch. One thread.
"""

import argparse
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datamodules import Images

CLASSES, SIDE = 10, 28


class ConvGenerator(nn.Module):
    """Maps latents (B, 128) and labels (B,) to images (B, 1, 28, 28) in [0, 1]."""

    def __init__(self, latent_dim: int = 128, width: int = 128) -> None:
        super().__init__()
        self.latents = nn.ConvTranspose2d(latent_dim, 2 * width, 4)  # 4 x 4
        self.classes = nn.ConvTranspose2d(CLASSES, 2 * width, 4)
        self.layers = nn.Sequential(
            nn.LeakyReLU(0.2),
            nn.ConvTranspose2d(4 * width, 2 * width, 3, stride=2, padding=1),  # 7 x 7
            nn.LeakyReLU(0.2),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),  # 14 x 14
            nn.LeakyReLU(0.2),
            nn.ConvTranspose2d(width, 1, 4, stride=2, padding=1),
            nn.Tanh(),
        )

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        classes = F.one_hot(labels, CLASSES).float()
        parts = self.latents(latents[..., None, None]), self.classes(classes[..., None, None])
        return (self.layers(torch.cat(parts, dim=1)) + 1) / 2


class ConvDiscriminator(nn.Module):
    """Maps images (B, 1, 28, 28) and labels (B,), as ten constant channels, to logits (B,)."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.images = nn.Conv2d(1, width // 2, 4, stride=2, padding=1)  # 14 x 14
        self.classes = nn.Conv2d(CLASSES, width // 2, 4, stride=2, padding=1)
        self.layers = nn.Sequential(
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),  # 7 x 7
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1),  # 4 x 4
            nn.LeakyReLU(0.2),
            nn.Conv2d(4 * width, 1, 4),
            nn.Flatten(0),
        )

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        classes = F.one_hot(labels, CLASSES).float()[..., None, None]
        maps = self.classes(classes.expand(-1, -1, SIDE, SIDE))
        return self.layers(torch.cat([self.images(images), maps], dim=1))


class DenseGenerator(nn.Module):
    """Maps latents (B, 100) and embedded labels (B,) to images (B, 1, 28, 28) in [-1, 1]."""

    def __init__(self, latent_dim: int = 100) -> None:
        super().__init__()
        self.classes = nn.Embedding(CLASSES, CLASSES)
        layers: list[nn.Module] = [nn.Linear(latent_dim + CLASSES, 128), nn.LeakyReLU(0.2)]
        for inputs, outputs in pairwise((128, 256, 512, 1024)):
            normalization = nn.BatchNorm1d(outputs, eps=0.8)  # the authors' eps
            layers += [nn.Linear(inputs, outputs), normalization, nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Linear(1024, SIDE * SIDE), nn.Tanh())

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        pixels = self.layers(torch.cat([self.classes(labels), latents], dim=1))
        return pixels.view(-1, 1, SIDE, SIDE)


class DenseDiscriminator(nn.Module):
    """Maps images (B, 1, 28, 28) and embedded labels (B,) to values (B,), near 1 for real."""

    def __init__(self, width: int = 512) -> None:
        super().__init__()
        self.classes = nn.Embedding(CLASSES, CLASSES)
        layers: list[nn.Module] = [nn.Linear(SIDE * SIDE + CLASSES, width), nn.LeakyReLU(0.2)]
        for _ in range(2):
            layers += [nn.Linear(width, width), nn.Dropout(0.4), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Linear(width, 1), nn.Flatten(0))

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return self.layers(torch.cat([images.flatten(1), self.classes(labels)], dim=1))


class Peer:
    """Two networks and their optimizers; a subclass has the settings and a training step."""

    latent_dim: int
    batch_size: int
    low: float  # pixels lie in [low, 1]

    def __init__(self, generator: nn.Module, discriminator: nn.Module) -> None:
        self.g, self.d = generator, discriminator
        self.g_optimizer, self.d_optimizer = (
            torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999))
            for network in (generator, discriminator)
        )

    def generate(self, labels: Tensor) -> Tensor:
        return self.g(torch.randn(len(labels), self.latent_dim), labels)

    def step(self, real: Tensor, labels: Tensor) -> None:
        """Updates both networks once, with real images (B, 1, 28, 28) and their labels (B,)."""
        raise NotImplementedError


class Dcgan(Peer):
    """D first, on one batch of reals and fakes; then G, on new fakes. Logistic losses."""

    latent_dim, batch_size, low = 128, 128, 0.0

    def __init__(self) -> None:
        super().__init__(ConvGenerator(), ConvDiscriminator())

    def step(self, real: Tensor, labels: Tensor) -> None:
        fake_labels = torch.randint(CLASSES, labels.shape)
        with torch.no_grad():
            fakes = self.generate(fake_labels)
        logits = self.d(torch.cat([real, fakes]), torch.cat([labels, fake_labels])).float()
        is_real = torch.cat([torch.ones(len(real)), torch.zeros(len(fakes))])
        update(self.d_optimizer, F.binary_cross_entropy_with_logits(logits, is_real))
        fake_labels = torch.randint(CLASSES, labels.shape)
        logits = self.d(self.generate(fake_labels), fake_labels).float()
        update(self.g_optimizer, F.softplus(-logits).mean())


class Mlp(Peer):
    """G first; then D, on reals and the same fakes. Least-squares losses."""

    latent_dim, batch_size, low = 100, 64, -1.0

    def __init__(self) -> None:
        super().__init__(DenseGenerator(), DenseDiscriminator())

    def step(self, real: Tensor, labels: Tensor) -> None:
        fake_labels = torch.randint(CLASSES, labels.shape)
        fakes = self.generate(fake_labels)
        passed = self.d(fakes, fake_labels).float()
        update(self.g_optimizer, (passed - 1).square().mean())
        on_real = self.d(real, labels).float()
        on_fakes = self.d(fakes.detach(), fake_labels).float()
        update(self.d_optimizer, ((on_real - 1).square().mean() + on_fakes.square().mean()) / 2)


def update(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Takes a step; the other network's weights get no gradient."""
    optimizer.zero_grad()
    loss.backward(inputs=optimizer.param_groups[0]["params"])
    optimizer.step()


PEERS: dict[str, type[Dcgan] | type[Mlp]] = {"dcgan": Dcgan, "mlp": Mlp}


def batches(count: int, size: int) -> Iterator[Tensor]:
    """Yields whole batches of row numbers below `count`, shuffled anew in each epoch, endlessly."""
    while True:
        yield from torch.randperm(count)[: count // size * size].split(size)


def train(peer: Peer, images: Tensor, labels: Tensor, cpu_seconds: float, bf16: bool) -> int:
    """Trains on images uint8 (N, 1, 28, 28) for a time; returns the number of steps."""
    begin = time.process_time()
    for steps, rows in enumerate(batches(len(images), peer.batch_size)):
        if time.process_time() - begin >= cpu_seconds:
            return steps
        # A cache of bf16 weights would hide D's update from G's turn.
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16, cache_enabled=False):
            peer.step(images[rows] / 255 * (1 - peer.low) + peer.low, labels[rows])
    raise AssertionError("batches are endless")


@torch.no_grad()
def sample(peer: Peer, labels: Tensor) -> Tensor:
    """Draws images uint8 (N, 28, 28) of classes (N,)."""
    peer.g.eval()
    pixels = torch.cat([peer.generate(part) for part in labels.split(500)])
    shades = (pixels - peer.low) / (1 - peer.low) * 255
    return shades.round().clamp(0, 255).byte()[:, 0]


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m benchmarks.peer_cgan", description=__doc__)
    found.add_argument("peer", choices=PEERS)
    found.add_argument("--cpu-seconds", type=float, default=600, help="of training alone")
    found.add_argument("--seed", type=int, default=0)
    found.add_argument("--count", type=int, default=10_000, help="of samples")
    found.add_argument("--bf16", action="store_true", help="train in bfloat16 mixed precision")
    found.add_argument("--dataset", default="mnist")
    found.add_argument("--data-dir", default="data", help="contains MNIST/raw")
    found.add_argument("--out", type=Path, required=True, help="the .npz file to write")
    return found


def main(args: list[str] | None = None) -> None:
    options = parser().parse_args(args)
    torch.set_num_threads(1)
    data = Images(dataset=options.dataset, data_dir=options.data_dir)
    data.prepare_data()
    data.setup()
    assert data.splits is not None
    torch.manual_seed(options.seed)
    peer: Peer = PEERS[options.peer]()
    begin = time.process_time()
    steps = train(peer, *data.splits.train, options.cpu_seconds, options.bf16)
    seconds = time.process_time() - begin
    labels = data.splits.train.targets[: options.count]  # as `test` asks a GAN for
    np.savez(
        options.out, images=sample(peer, labels).numpy(), labels=labels.numpy(), steps=steps,
        batch_size=peer.batch_size, cpu_seconds=seconds,
    )  # fmt: skip
    print(f"{steps:,} steps of {peer.batch_size} images in {seconds:.1f} CPU-seconds")


if __name__ == "__main__":
    main()

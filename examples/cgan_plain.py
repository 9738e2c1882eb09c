"""The lecture's labeled GAN on one page of plain PyTorch: the slides' networks, losses and loop.

    python examples/cgan_plain.py --data data --epochs 50

It downloads MNIST into the folder, or takes scikit-learn's small digits, trains the discriminator
alone for 5 epochs and then both networks, and writes a grid of images, a row for each digit, after
every epoch. An epoch of the small digits takes 20 CPU-seconds on a core of an AMD EPYC, one of
MNIST 33 times as long. Ladder's form of it, which is faster:
python cli.py fit --config configs/lecture/cgan.yaml
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.datasets import MNIST
from torchvision.utils import save_image

FEATURES = 100  # random numbers of one image
DIGITS = 10
BATCH_SIZE = 100


def make_generator() -> nn.Sequential:
    """Returns the network from features and a one-hot digit, (B, 110), to images (B, 1, 28, 28)."""
    return nn.Sequential(
        nn.Linear(FEATURES + DIGITS, 1024),
        nn.Tanh(),
        nn.Linear(1024, 128 * 7 * 7),
        nn.BatchNorm1d(128 * 7 * 7, eps=1e-3, momentum=0.01),  # Keras' defaults
        nn.Tanh(),
        nn.Unflatten(1, (128, 7, 7)),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(128, 64, 5, padding="same"),
        nn.Tanh(),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(64, 1, 5, padding="same"),
        nn.Sigmoid(),
    )


def make_discriminator() -> nn.Sequential:
    """Returns the network from images (B, 1, 28, 28) to 11 logits: "fake", then the ten digits.

    The slides' last activation, the sigmoid, is part of `cross_entropy`.
    """
    return nn.Sequential(
        nn.Conv2d(1, 128, 5, padding="same"),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(128, 256, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(256 * 5 * 5, 1024),
        nn.Tanh(),
        nn.Linear(1024, 1 + DIGITS),
    )


def initialize(network: nn.Module) -> None:
    """Initializes weights as Keras does: uniform (Glorot and Bengio 2010), and biases 0."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def make_optimizer(network: nn.Module) -> torch.optim.Optimizer:
    """Returns the slides' optimizer, for either network."""
    return torch.optim.SGD(network.parameters(), lr=5e-4, momentum=0.9, nesterov=True)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Computes Keras' `categorical_crossentropy` of sigmoids, which it divides by their sum."""
    log_sigmoid = F.logsigmoid(logits)
    return F.nll_loss(log_sigmoid - log_sigmoid.logsumexp(dim=1, keepdim=True), target)


def draw_inputs(count: int) -> tuple[Tensor, Tensor]:
    """Draws inputs of the generator, (count, 110), and the digits (count,) in them."""
    digits = torch.randint(DIGITS, (count,))
    return generator_inputs(torch.rand(count, FEATURES), digits), digits


def generator_inputs(features: Tensor, digits: Tensor) -> Tensor:
    """Joins features (B, 100) and digits (B,), as one-hot vectors, to inputs (B, 110)."""
    return torch.cat([features, F.one_hot(digits, DIGITS).to(features.dtype)], dim=1)


def discriminator_loss(
    generate: nn.Module, discriminate: nn.Module, images: Tensor, digits: Tensor, inputs: Tensor
) -> Tensor:
    """Computes D's loss on real images, which are their digits, and generated ones, "fake"."""
    generate.eval()  # the slides' `generate.predict`
    with torch.no_grad():
        fake = generate(inputs)
    generate.train()
    target = torch.cat([digits + 1, torch.zeros_like(digits)])
    return cross_entropy(discriminate(torch.cat([images, fake])), target)


def generator_loss(
    generate: nn.Module, discriminate: nn.Module, inputs: Tensor, digits: Tensor
) -> Tensor:
    """Computes G's loss: D must take its images for the digits that were asked for."""
    return cross_entropy(discriminate(generate(inputs)), digits + 1)


def descend(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Moves one network down its loss. The other network's gradients are not used."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def batches(images: Tensor, digits: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields all images once, in a new order, as floats in [0, 1)."""
    for places in torch.randperm(len(images)).split(BATCH_SIZE):
        yield images[places, None].float() / 256, digits[places]


def write_grid(generate: nn.Module, path: Path) -> None:
    """Writes ten images of each digit, a row for each."""
    digits = torch.arange(DIGITS).repeat_interleave(10)
    generate.eval()
    with torch.no_grad():
        images = generate(generator_inputs(torch.rand(len(digits), FEATURES), digits))
    generate.train()
    save_image(images, path, nrow=10)


def train(images: Tensor, digits: Tensor, pretrain: int, epochs: int, folder: Path) -> nn.Module:
    """Trains D alone for `pretrain` epochs, then both networks, and returns the generator.

    Args:
        images: uint8 (N, 28, 28).
        digits: (N,).
        pretrain: Epochs in which only the discriminator learns.
        epochs: Epochs after them.
        folder: Of the pictures.
    """
    generate, discriminate = make_generator(), make_discriminator()
    for network in (generate, discriminate):
        initialize(network)
    g_optimizer, d_optimizer = make_optimizer(generate), make_optimizer(discriminate)
    for epoch in range(pretrain + epochs):
        for real, labels in batches(images, digits):
            inputs, _ = draw_inputs(len(real))
            d_loss = discriminator_loss(generate, discriminate, real, labels, inputs)
            descend(d_loss, d_optimizer)
            if epoch >= pretrain:
                inputs, wanted = draw_inputs(len(real))
                g_loss = generator_loss(generate, discriminate, inputs, wanted)
                descend(g_loss, g_optimizer)
        text = f"generator {g_loss.item():.3f}" if epoch >= pretrain else "generator waits"
        print(f"Epoch {epoch + 1}: discriminator {d_loss.item():.3f}, {text}", flush=True)
        write_grid(generate, folder / f"cgan_plain_{epoch + 1:03d}.png")
    return generate


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
    parser.add_argument("--pretrain", type=int, default=5, help="epochs of D alone")
    parser.add_argument("--epochs", type=int, default=50, help="epochs of both networks")
    parser.add_argument("--out", type=Path, default=Path("."), help="folder of the pictures")
    options = parser.parse_args()
    torch.manual_seed(0)
    train(*load_images(options.data), options.pretrain, options.epochs, options.out)


if __name__ == "__main__":
    main()

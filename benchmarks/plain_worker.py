"""The lecture's GANs in straightforward PyTorch: `plain_worker gan|cgan [softmax] [cuda]`.

Float32, the default layout, the layers of the slides one by one. A test compares its steps with
this project's (tests/models/test_plain_step.py). `softmax` is the loss that `keras_worker loss`
names.
"""

import sys

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.pacing import wait_for_device
from benchmarks.systems import real_batch
from benchmarks.worker import Line
from models.gan.lecture import normalized_sigmoid_cross_entropy

BATCH, LATENT = 100, 100
Draw = tuple[Tensor, Tensor]  # latents (B, LATENT), labels (B,)


def generator(inputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, 1024),
        nn.Tanh(),
        nn.Linear(1024, 128 * 7 * 7),
        nn.BatchNorm1d(128 * 7 * 7, eps=1e-3, momentum=0.01),
        nn.Tanh(),
        nn.Unflatten(1, (128, 7, 7)),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(128, 64, 5, padding=2),
        nn.Tanh(),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(64, 1, 5, padding=2),
        nn.Sigmoid(),
    )


def discriminator(channels: int, activation: type[nn.Module], outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, channels, 5, padding=2),
        activation(),
        nn.MaxPool2d(2),
        nn.Conv2d(channels, 2 * channels, 5),
        activation(),
        nn.MaxPool2d(2),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(2 * channels * 5 * 5, 1024),
        nn.Tanh(),
        nn.Linear(1024, outputs),
    )


class Plain:
    """Both networks, their optimizers and one step of the slides' loop."""

    def __init__(self, conditional: bool, device: str, softmax: bool = False) -> None:
        self.conditional, self.device = conditional, device
        self.cross_entropy = F.cross_entropy if softmax else normalized_sigmoid_cross_entropy
        self.g = generator(LATENT + 10 * conditional).to(device)
        self.d = (
            discriminator(128, nn.ReLU, 11) if conditional else discriminator(64, nn.Tanh, 1)
        ).to(device)
        self.d_optimizer, self.g_optimizer = (
            torch.optim.SGD(network.parameters(), lr=5e-4, momentum=0.9, nesterov=True)
            for network in (self.d, self.g)
        )

    def loss(self, logits: Tensor, real: Tensor, labels: Tensor) -> Tensor:
        """Computes the loss; `real` (B,) is 1 or 0, `labels` (B,) are the digits."""
        if not self.conditional:
            return F.binary_cross_entropy_with_logits(logits[:, 0], real)
        return self.cross_entropy(logits, (labels + 1) * real.long())

    def draw(self) -> Draw:
        labels = torch.randint(10, (BATCH,), device=self.device)
        return torch.rand(BATCH, LATENT, device=self.device), labels

    def generate(self, draw: Draw) -> Tensor:
        latents, labels = draw
        if not self.conditional:
            return self.g(latents)
        return self.g(torch.cat([latents, F.one_hot(labels, 10).to(latents.dtype)], dim=1))

    def step(self, real: Tensor, labels: Tensor, first: Draw, second: Draw) -> tuple[float, float]:
        """Updates each network once; returns the discriminator's and the generator's loss."""
        self.g.eval()  # The slides draw these by `generate.predict`.
        with torch.no_grad():
            fake = self.generate(first)
        self.g.train()
        ones = torch.ones(len(real), dtype=real.dtype, device=self.device)
        logits = self.d(torch.cat([real, fake]))
        target = torch.cat([ones, 1 - ones])
        self.d_optimizer.zero_grad()
        d_loss = self.loss(logits, target, torch.cat([labels, first[1]]))
        d_loss.backward()
        self.d_optimizer.step()

        self.g_optimizer.zero_grad()
        g_loss = self.loss(self.d(self.generate(second)), ones, second[1])
        g_loss.backward()
        self.g_optimizer.step()
        return d_loss.item(), g_loss.item()


def main() -> None:
    line = Line()
    device = "cuda" if "cuda" in sys.argv else "cpu"
    plain = Plain(sys.argv[1] == "cgan", device, softmax="softmax" in sys.argv)
    real, labels = real_batch(BATCH, device)
    line.serve(lambda: plain.step(real, labels, plain.draw(), plain.draw()), wait_for_device)


if __name__ == "__main__":
    main()

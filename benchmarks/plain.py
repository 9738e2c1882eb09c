"""The plain conditional GAN of examples/cgan_plain.py as a contender: `plain [softmax]`."""

import sys
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.pacing import leave, wait_for_device
from benchmarks.worker import Line
from examples import cgan_plain


def paced_batches(images: Tensor, digits: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields the same batch for each requested step, then ends the process."""
    for _ in Line().steps(wait_for_device):
        yield images, digits
    leave()


if __name__ == "__main__":
    if "softmax" in sys.argv:
        cgan_plain.cross_entropy = F.cross_entropy  # type: ignore[assignment]
    cgan_plain.batches = paced_batches
    images = torch.rand(cgan_plain.BATCH_SIZE, 1, 28, 28)
    digits = torch.randint(cgan_plain.DIGITS, (cgan_plain.BATCH_SIZE,))
    cgan_plain.train(images, digits, pretrain=0, epochs=1, folder=Path())

"""The plain conditional GAN of examples/cgan_plain.py as a contender: `plain [softmax] [cuda]`."""

import sys

import torch

from benchmarks.pacing import wait_for_device
from benchmarks.worker import Line
from examples import cgan_plain

if __name__ == "__main__":
    line = Line()
    device = "cuda" if "cuda" in sys.argv else "cpu"
    step = cgan_plain.make_step(device, softmax="softmax" in sys.argv)
    images = torch.rand(cgan_plain.BATCH, 1, 28, 28, device=device)
    labels = torch.randint(10, (cgan_plain.BATCH,), device=device)
    line.serve(lambda: step(images, labels), wait_for_device)

"""Trains the small reader of 8 x 8 digits in the page: `python -m benchmarks.reader`, a CPU-minute.

Writes `pages/reader.json`: the weights in 8 bits, what it reaches, and the recipe. The page counts
with it which of its generated digits show the class that they should.
"""

import base64
import json
from functools import partial
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import Trainer, seed_everything
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from datamodules.digits import as_mnist_digits
from metrics.judge import load_judge
from models import FeedForward
from models.image_classifiers import ImageClassifier
from models.training import EMAOptions, Schedule
from pages.page import READER, split_digits
from runtime.files import write_json

HIDDEN, STEPS, SEED = (96, 64), 3000, 0


def train_reader(steps: int = STEPS) -> nn.Sequential:
    """Returns the network that was trained on the page's training digits."""
    seed_everything(SEED, verbose=False)
    model = ImageClassifier(
        (1, 8, 8),
        10,
        partial(FeedForward, hidden=HIDDEN, activation="relu"),
        shift=0.7,
        rotation=10,
        zoom=0.1,
        shear=0.15,
        average=EMAOptions(decay=0.99),
        schedule=Schedule(shape="cosine", warmup=0.2),
        optimizer=partial(torch.optim.AdamW, lr=0.004, weight_decay=0.05),
    )
    images, labels, train = digits()
    split = TensorDataset(images[:train], labels[:train])
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(max_steps=steps, accelerator="cpu", enable_model_summary=False, **quiet)
    trainer.fit(model, DataLoader(split, 128, shuffle=True, drop_last=True))
    network: nn.Sequential = model.eval_network.eval()
    return network


def digits() -> tuple[Tensor, Tensor, int]:
    """Returns the page's images (N, 1, 8, 8) in [0, 1], classes (N,), and how many are to train."""
    levels, labels, train = split_digits()
    images = torch.from_numpy(levels).float().view(-1, 1, 8, 8) / 16
    return images, torch.from_numpy(labels), train


def in_8_bits(network: nn.Sequential) -> dict[str, object]:
    """Rounds the weights of a network in place; returns them, each tensor with its scale."""
    scales, parts = [], []
    for weight in network.state_dict().values():
        scale = float(weight.abs().max()) / 127
        parts.append((weight / scale).round().to(torch.int8).numpy())
        scales.append(scale)
        weight.copy_(torch.from_numpy(parts[-1]).float() * scale)
    packed = np.concatenate([part.ravel() for part in parts]).tobytes()
    return {
        "sizes": [64, *HIDDEN, 10],
        "scales": scales,
        "weights": base64.b64encode(packed).decode(),
    }


@torch.no_grad()
def measure(network: nn.Sequential) -> dict[str, float]:
    """Returns what the reader reaches on the held-out digits, beside the judge of digits."""
    images, labels, train = digits()
    held, labels = images[train:], labels[train:]
    certainty, seen = network(held).softmax(dim=1).max(dim=1)
    pixels = (as_mnist_digits(held) * 255).round().to(torch.uint8)
    judged = load_judge("digits").judge(pixels)[1]
    return {
        "accuracy": share(seen == labels),
        "agreement": share(seen == judged),
        "sure": share(certainty >= 0.9),
        "examples": len(held),
    }


def share(hits: Tensor) -> float:
    return round(hits.double().mean().item(), 4)


def main(path: Path = READER) -> None:
    network = train_reader()
    reader = in_8_bits(network)
    found = measure(network)
    recipe = {"recipe": "python -m benchmarks.reader", "steps": STEPS, "seed": SEED}
    write_json(path, {**reader, **found, **recipe})
    print(json.dumps(found), f"{path.stat().st_size} bytes")


if __name__ == "__main__":
    main()

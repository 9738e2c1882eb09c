"""Data path: from stored pixels to batches of floats on the training device."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader
from torchvision.datasets import MNIST
from torchvision.transforms import ToTensor

from benchmarks.context import Context
from benchmarks.report import Section
from benchmarks.timing import interleave, ratio, spread
from benchmarks.worker import seconds_of
from datamodules import Images, Split

BATCH = 128
EXAMPLES = 12_800  # of one contender in one round


def torchvision_mnist(pixels: torch.Tensor, labels: torch.Tensor) -> MNIST:
    """Builds torchvision's data set from uint8 images (N, 1, H, W), without reading files."""
    dataset = MNIST.__new__(MNIST)
    dataset.data, dataset.targets = pixels.squeeze(1), labels
    dataset.transform, dataset.target_transform = ToTensor(), None
    return dataset


def consume(batches: Iterable[Any], ready: Callable[[Any, int], Any] = lambda b, _: b) -> None:
    for batch in batches:
        ready(batch, 0)


def run(context: Context) -> list[Section]:
    data = Images(dataset="mnist", data_dir=str(context.data_dir), batch_size=BATCH)
    data.setup()
    assert data.splits is not None
    train = Split(*(tensor[:EXAMPLES].clone() for tensor in data.splits.train))
    data.splits = data.splits._replace(train=train)
    peer, ours = torchvision_mnist(*train), data.train_dataloader()
    contenders: dict[str, Callable[[], None]] = {
        "torchvision, DataLoader": lambda: consume(DataLoader(peer, BATCH, shuffle=True)),
        "the same, 2 workers": lambda: consume(
            DataLoader(peer, BATCH, shuffle=True, num_workers=2)
        ),
        "Ladder": lambda: consume(ours, data.on_after_batch_transfer),
    }
    for action in contenders.values():
        action()
    found = interleave(
        {name: partial(seconds_of, action) for name, action in contenders.items()}, context.rounds
    )
    result = Section("Data path", ["loader", "us per image", "x torchvision"])
    base = found["torchvision, DataLoader"]
    for name, seconds in found.items():
        cells = spread(seconds).text(1e6 / EXAMPLES), ratio(base, seconds).text()
        result.rows.append((name, *cells))
    result.notes.append(
        f"{EXAMPLES:,} images in shuffled batches of {BATCH} as float32 in [0, 1], with an epoch's "
        "start; torchvision applies `ToTensor` to one PIL image at a time."
    )
    return [result]

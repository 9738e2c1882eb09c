"""A new data set is one class: the example of docs/extending.md and that of the tests."""

from typing import Any

import pytest
import torch

from datamodules import InMemoryDataModule
from tests import datasets
from tests.test_extending import EXAMPLES

example: dict[str, Any] = {}
exec(EXAMPLES["data set"].python, example)
Bands: type[InMemoryDataModule] = example["Bands"]


def test_a_new_data_set_is_loaded_identified_and_batched() -> None:
    data = Bands(num_train=120)
    assert data.input_shape == data.image_shape == (3, 32, 32)
    assert data.identity() == {"num_train": 120, "data_seed": 0}
    loader = data.train_dataloader()
    stored = list(loader)
    assert len(stored) == len(loader) == 2
    assert stored[0][0].dtype == torch.uint8
    images, labels = data.on_after_batch_transfer(stored[0], 0)
    assert images.shape == (50, 3, 32, 32)
    assert images.dtype == torch.float32
    assert 0.9 < images.max() <= 1
    assert set(labels.tolist()) == set(range(5))
    again, other = Bands(num_train=120), Bands(num_train=120, data_seed=1)
    assert torch.equal(
        next(iter(again.test_dataloader()))[0], next(iter(data.test_dataloader()))[0]
    )
    assert other.identity() != data.identity()


@pytest.mark.parametrize(
    ("channels", "height", "width"), [(1, 28, None), (3, 16, None), (2, 9, 12)]
)
def test_stripes_of_any_shape_are_learned_by_a_small_network(
    channels: int, height: int, width: int | None
) -> None:
    torch.manual_seed(0)
    data = datasets.Stripes(channels, height, width)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(channels, 8, 5),
        torch.nn.BatchNorm2d(8),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(8, 4),
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=0.03)
    for epoch in range(12):
        loader = data.train_dataloader()
        loader.set_epoch(epoch)
        for batch in loader:
            images, labels = data.on_after_batch_transfer(batch, 0)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(images), labels).backward()
            optimizer.step()
    (batch,) = iter(datasets.Stripes(channels, height, width, batch_size=64).test_dataloader())
    images, labels = data.on_after_batch_transfer(batch, 0)
    assert (network(images).argmax(dim=1) == labels).float().mean() > 0.9

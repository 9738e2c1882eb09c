"""VGG-16 on small images."""

import pytest
import torch

from datamodules import Images
from models import VGG
from models.networks import count_parameters
from tests.models.classifiers import fit


def test_parameters_for_small_images() -> None:
    channels = [1, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    # 3 x 3 weights and, in batch norm, a scale and a shift for each channel; five poolings leave
    # 1 x 1 of 32 x 32, so 512 features go into 4096 units, those into 4096, those into 10
    convolutions = sum(9 * i * o + 2 * o for i, o in zip(channels, channels[1:], strict=False))
    dense = 513 * 4096 + 4097 * 4096 + 4097 * 10
    with torch.device("meta"):
        model = VGG()
    assert count_parameters(model.network) == convolutions + dense == 33_641_290


@pytest.mark.parametrize("batch_norm", [True, False])
def test_a_narrow_one_trains(batch_norm: bool) -> None:
    model = VGG(width=1 / 32, batch_norm=batch_norm)
    before = [p.clone() for p in model.network.parameters()]
    fit(model, Images(dataset="digits", batch_size=16), max_steps=2)
    after = list(model.network.parameters())
    assert all(p.isfinite().all() for p in after)
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert model(torch.rand(2, 1, 28, 28)).shape == (2, 10)

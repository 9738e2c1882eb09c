"""VGG-16: the paper's parameters, and small images."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from lightning import Trainer
from models.vgg import PadTo
from torch import nn

from datamodules import Images
from models import VGG16, ImageClassifier
from models.dense import Linear
from models.layers import MaxPool2d
from runtime.errors import UserError
from tests.models.classifiers import SHAPE, count_parameters, fit


def test_at_224_pixels_it_has_torchvisions_parameters() -> None:
    with torch.device("meta"):  # half a gigabyte otherwise
        ours: Any = VGG16((3, 224, 224), 1000, batch_norm=False)
        theirs = torchvision.models.vgg16(weights=None, init_weights=False)
    shapes = [[tuple(p.shape) for p in network.parameters()] for network in (ours, theirs)]
    assert shapes[0] == shapes[1]
    assert count_parameters(ours) == 138_357_544


def test_it_has_13_convolutions_and_3_dense_layers() -> None:
    network = VGG16(SHAPE, 10, width=1 / 64)
    kinds = [type(layer) for layer in network]
    assert kinds.count(nn.Conv2d) == kinds.count(nn.BatchNorm2d) == 13
    assert kinds.count(Linear) == 3
    assert kinds.count(MaxPool2d) == 5
    assert network[1].out_channels == 1


def test_padding_that_its_poolings_use_up_is_refused() -> None:
    with pytest.raises(UserError, match="pad_to_multiple_of is 28"):
        VGG16(SHAPE, 10, width=1 / 64, pad_to_multiple_of=28)


def test_padding_is_even_and_zero() -> None:
    padded = PadTo(32, 30)(torch.ones(1, 1, 28, 28))
    assert padded.shape == (1, 1, 32, 30)
    assert padded[..., 2:30, 1:29].min() == 1
    assert padded.sum() == 28 * 28


def test_parameters_for_small_images() -> None:
    channels = [1, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    # 3 x 3 weights and, in batch norm, a scale and a shift for each channel; five poolings leave
    # 1 x 1 of 32 x 32, so 512 features go into 4096 units, those into 4096, those into 10
    convolutions = sum(9 * i * o + 2 * o for i, o in zip(channels, channels[1:], strict=False))
    dense = 513 * 4096 + 4097 * 4096 + 4097 * 10
    with torch.device("meta"):
        network = VGG16(SHAPE, 10)
    assert count_parameters(network) == convolutions + dense == 33_641_290


@pytest.mark.parametrize("batch_norm", [True, False])
def test_a_narrow_one_trains(batch_norm: bool) -> None:
    network = partial(VGG16, width=1 / 32, batch_norm=batch_norm)
    model = ImageClassifier(SHAPE, 10, network)
    before = [p.clone() for p in model.network.parameters()]
    fit(model, Images(dataset="digits", batch_size=16), max_steps=2)
    after = list(model.network.parameters())
    assert all(p.isfinite().all() for p in after)
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert model(torch.rand(2, *SHAPE)).shape == (2, 10)


def test_a_network_of_a_checkpoint_has_its_own_defaults(tmp_path: Path) -> None:
    model = ImageClassifier(SHAPE, 10, partial(VGG16, width=1 / 32))  # dropout: VGG16's 0.5
    trainer = Trainer(logger=False, barebones=True)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(tmp_path / "vgg.ckpt")
    again = ImageClassifier.load_from_checkpoint(tmp_path / "vgg.ckpt")
    for network in (model, again):
        assert [layer.p for layer in network.modules() if isinstance(layer, nn.Dropout)] == [
            0.5
        ] * 2

"""VGG-16: the paper's parameters, and small images."""

from typing import Any

import torch
import torchvision
from torch import nn

from models import VGG16
from models.dense import Linear
from models.layers import MaxPool2d
from models.networks import PadTo
from tests.models.classifiers import SHAPE, count_parameters


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


def test_padding_is_even_and_zero() -> None:
    padded = PadTo(32, 30)(torch.ones(1, 1, 28, 28))
    assert padded.shape == (1, 1, 32, 30)
    assert padded[..., 2:30, 1:29].min() == 1
    assert padded.sum() == 28 * 28

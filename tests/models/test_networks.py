"""Networks: activations by name, layers as requested, parameters counted by hand."""

from functools import partial
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from models.fast_layers import Dropout
from models.networks import (
    VGG16,
    ConvNet,
    FeedForward,
    LectureConvNet,
    Residual,
    ResidualConvNet,
    ResNet9,
    activation_layer,
)
from runtime.errors import UserError
from tests.models.classifiers import SHAPE, count_parameters, dense

X = torch.tensor([[-2.0, 0.0, 1.5]])
FORMULAS = {
    "sigmoid": 1 / (1 + (-X).exp()),
    "tanh": (X.exp() - (-X).exp()) / (X.exp() + (-X).exp()),
    "relu": X.clamp(min=0),
    "softplus": (1 + X.exp()).log(),
    "softmax": X.exp() / X.exp().sum(),
    "linear": X,
    "SiLU": X / (1 + (-X).exp()),
    "leaky_relu": torch.where(X < 0, 0.01 * X, X),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_activation_is_the_function_of_its_name(name):
    torch.testing.assert_close(activation_layer(name)(X.clone()), FORMULAS[name])


def test_activation_like_nothing_known_lists_what_is():
    with pytest.raises(UserError, match=r"one of sigmoid, .*gelu") as caught:
        activation_layer("qqqqqqqq")
    assert "\n" not in str(caught.value)


def test_feed_forward_is_affine_maps_with_the_activation_between():
    network = FeedForward((2,), 1, (3, 3), "tanh").double()
    x = torch.randn(5, 2, dtype=torch.float64)
    first, second, last = (layer for layer in network if isinstance(layer, nn.Linear))
    hidden = torch.tanh(x @ first.weight.T + first.bias)
    hidden = torch.tanh(hidden @ second.weight.T + second.bias)
    torch.testing.assert_close(network(x), hidden @ last.weight.T + last.bias)


def test_a_share_of_each_hidden_layer_is_dropped():
    layers = [
        part for part in FeedForward((2,), 1, (3, 3), dropout=0.3) if isinstance(part, Dropout)
    ]
    assert [layer.p for layer in layers] == [0.3, 0.3]


def test_softmax_as_activation_is_over_the_units():
    rows = torch.randn(4, 3)
    torch.testing.assert_close(activation_layer("softmax")(rows).sum(dim=1), torch.ones(4))


def test_a_convolution_has_a_bias_only_without_batch_norm():
    for batch_norm in (True, False):
        network = VGG16((1, 32, 32), 10, 1 / 64, batch_norm=batch_norm)
        layers = [part for part in network if isinstance(part, nn.Conv2d)]
        assert {layer.bias is None for layer in layers} == {batch_norm}


def test_lecture_networks_have_the_slides_parameters():
    # 784 pixels and a bias into each of 128 units, 128 and a bias into 128, then into 10
    assert count_parameters(dense().network) == 785 * 128 + 129 * 128 + 129 * 10 == 118_282
    # 3 x 3 x 1 weights and a bias for each of 32 filters; a 3 x 3 kernel without padding leaves
    # 26 x 26 of 28 x 28, times 32 channels into 128 units; 128 units into 10.
    expected = (9 + 1) * 32 + (26 * 26 * 32 + 1) * 128 + (128 + 1) * 10
    network = LectureConvNet(SHAPE, 10)
    assert count_parameters(network) == expected == 2_770_634
    assert network(torch.rand(2, 1, 28, 28)).shape == (2, 10)


def test_convnet_has_the_parameters_of_its_layers():
    w = 8
    channels = [(w, 2 * w), (2 * w, 4 * w), (4 * w, 4 * w)]
    batch_norms = 2 * (w + 2 * w + 4 * w + 4 * w)
    expected = 25 * w + sum(9 * into * out for into, out in channels) + batch_norms
    network = ConvNet(SHAPE, 10, width=w)
    assert count_parameters(network) == expected + (4 * w + 1) * 10
    assert network[0](torch.rand(2, 1, 28, 28)).shape == (2, w, 12, 12)
    assert ConvNet((3, 11, 11), 10)(torch.rand(2, 3, 11, 11)).shape == (2, 10)
    with pytest.raises(UserError, match="11 x 11 pixels or more"):
        ConvNet((1, 10, 28), 10)


def test_residual_convnet_has_the_parameters_of_its_layers():
    w = 8
    convolutions = 25 * w + 9 * (w * 3 * w + 2 * 9 * w * w + 18 * w * w + 2 * 36 * w * w)
    batch_norms = 2 * (w + 3 * (3 * w) + 3 * (6 * w))
    network = ResidualConvNet(SHAPE, 10, width=w)
    assert count_parameters(network) == convolutions + batch_norms + (6 * w + 1) * 10
    assert network(torch.rand(2, 1, 28, 28)).shape == (2, 10)


def test_resnet9_has_the_parameters_of_its_layers_and_begins_at_full_size():
    w = 4
    channels = [(1, w), (w, 2 * w), (2 * w, 2 * w), (2 * w, 2 * w), (2 * w, 4 * w),
                (4 * w, 8 * w), (8 * w, 8 * w), (8 * w, 8 * w)]  # fmt: skip
    expected = sum(9 * into * out + 2 * out for into, out in channels) + (8 * w + 1) * 10
    network = ResNet9(SHAPE, 10, width=w)
    assert count_parameters(network) == expected
    assert network[0](torch.rand(2, 1, 28, 28)).shape == (2, w, 28, 28)
    assert network(torch.rand(2, 1, 28, 28)).shape == (2, 10)


def test_a_residual_block_adds_its_input():
    layers = Residual(nn.ReLU())
    assert torch.equal(layers(X), torch.tensor([[-2.0, 0.0, 3.0]]))


@pytest.mark.parametrize("shape", [(3, 16, 64), (1, 64, 64), (3, 30, 17)])
@pytest.mark.parametrize(
    "network", [ConvNet, FeedForward, ResidualConvNet, ResNet9, partial(VGG16, width=1 / 64)]
)
def test_networks_take_images_of_any_shape(network, shape):
    assert network(shape, 5)(torch.rand(2, *shape)).shape == (2, 5)


@pytest.mark.parametrize("network", [ConvNet, LectureConvNet, ResidualConvNet, ResNet9, VGG16])
def test_inputs_that_do_not_fit_are_refused_in_one_line(network):
    with pytest.raises(UserError, match="the data have") as caught:
        network((4,), 3)
    assert "\n" not in str(caught.value)


def test_at_224_pixels_it_has_torchvisions_parameters():
    with torch.device("meta"):  # half a gigabyte otherwise
        ours: Any = VGG16((3, 224, 224), 1000, batch_norm=False)
        theirs = torchvision.models.vgg16(weights=None, init_weights=False)
        normalized: Any = VGG16((3, 224, 224), 1000)
    shapes = [[tuple(p.shape) for p in network.parameters()] for network in (ours, theirs)]
    assert shapes[0] == shapes[1]
    assert count_parameters(ours) == 138_357_544
    assert count_parameters(normalized) == 138_357_544 + 4_224


def test_padding_is_even_and_zero():
    padded = VGG16((1, 28, 31), 10, width=1 / 64)[0](torch.ones(1, 1, 28, 31))
    assert padded.shape == (1, 1, 32, 32)
    assert padded[..., 2:30, :31].min() == 1
    assert padded.sum() == 28 * 31

"""Networks: activations by name, layers as asked for, parameters counted by hand."""

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import nn

from models.layers import Dropout, MaxPool2d
from models.networks import (
    VGG16,
    PadTo,
    activation,
    count_parameters,
    lecture_convnet,
    mlp,
    modern_convnet,
    vgg,
)

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
def test_activation_is_the_function_of_its_name(name: str) -> None:
    torch.testing.assert_close(activation(name)(X.clone()), FORMULAS[name])


@pytest.mark.parametrize(
    ("wrong", "right"), [("sigmiod", "sigmoid"), ("rellu", "relu"), ("softmx", "softmax")]
)
def test_misspelt_activation_is_one_line_with_near_names(wrong: str, right: str) -> None:
    with pytest.raises(MisconfigurationException, match=rf"'{wrong}': did you mean .*{right}"):
        mlp([2, 2, 1], wrong)


def test_activation_like_nothing_known_lists_what_is() -> None:
    with pytest.raises(MisconfigurationException, match=r"one of sigmoid, .*gelu") as caught:
        activation("qqqqqqqq")
    assert "\n" not in str(caught.value)


def test_mlp_is_affine_maps_with_the_activation_between() -> None:
    network = mlp([2, 3, 3, 1], "tanh").double()
    x = torch.randn(5, 2, dtype=torch.float64)
    first, second, last = (layer for layer in network if isinstance(layer, nn.Linear))
    hidden = torch.tanh(x @ first.weight.T + first.bias)
    hidden = torch.tanh(hidden @ second.weight.T + second.bias)
    torch.testing.assert_close(network(x), hidden @ last.weight.T + last.bias)


@pytest.mark.parametrize(
    ("sizes", "parameters"),
    [
        ([2, 1], 2 + 1),
        ([2, 2, 1], (2 * 2 + 2) + (2 + 1)),
        ([4, 128, 3], 640 + 387),  # the slide's table: (4 + 1) * 128, (128 + 1) * 3
        ([784, 128, 128, 10], 785 * 128 + 129 * 128 + 129 * 10),
        ([7, 5, 4, 3, 2], 8 * 5 + 6 * 4 + 5 * 3 + 4 * 2),
    ],
)
def test_mlp_has_fan_in_plus_one_parameters_a_unit(sizes: list[int], parameters: int) -> None:
    assert count_parameters(mlp(sizes)) == parameters


@pytest.mark.parametrize("sizes", [[3], [2, 0, 1], [2, -1]])
def test_layer_without_units_is_refused(sizes: list[int]) -> None:
    with pytest.raises(MisconfigurationException, match="every layer needs a unit"):
        mlp(sizes)


def test_dropout_and_batch_norm_stand_where_they_should() -> None:
    kinds = [type(layer) for layer in mlp([2, 3, 1], "relu", dropout=0.5, batch_norm=True)]
    hidden = [nn.Linear, nn.BatchNorm1d, nn.ReLU, Dropout]
    assert kinds == [nn.Flatten, *hidden, nn.Linear]


def test_lecture_convnet_has_the_slides_parameters() -> None:
    # 3 x 3 x 1 weights and a bias for each of 32 filters; a 3 x 3 kernel without padding leaves
    # 26 x 26 of 28 x 28, times 32 channels into 128 units; 128 units into 10.
    expected = (9 + 1) * 32 + (26 * 26 * 32 + 1) * 128 + (128 + 1) * 10
    network = lecture_convnet()
    assert count_parameters(network) == expected == 2_770_634
    assert network(torch.rand(2, 1, 28, 28)).shape == (2, 10)


def test_modern_convnet_has_the_parameters_of_its_layers() -> None:
    w = 8
    convolutions = 25 * w + 9 * (w * 3 * w + 2 * 9 * w * w + 18 * w * w + 2 * 36 * w * w)
    batch_norms = 2 * (w + 3 * (3 * w) + 3 * (6 * w))
    network = modern_convnet(width=w)
    assert count_parameters(network) == convolutions + batch_norms + (6 * w + 1) * 10
    assert network(torch.rand(2, 1, 28, 28)).shape == (2, 10)


def test_vgg16_at_224_pixels_has_torchvisions_parameters() -> None:
    import torchvision

    with torch.device("meta"):  # half a gigabyte otherwise
        ours = vgg(in_channels=3, image_size=224, num_classes=1000, batch_norm=False)
        theirs = torchvision.models.vgg16(weights=None, init_weights=False)
    shapes = [[tuple(p.shape) for p in network.parameters()] for network in (ours, theirs)]
    assert shapes[0] == shapes[1]
    assert count_parameters(ours) == 138_357_544


def test_vgg16_has_13_convolutions_and_3_dense_layers() -> None:
    network = vgg(width=1 / 64)
    kinds = [type(layer) for layer in network]
    assert kinds.count(nn.Conv2d) == kinds.count(nn.BatchNorm2d) == 13
    assert kinds.count(nn.Linear) == 3
    assert kinds.count(MaxPool2d) == VGG16.count("M") == 5
    assert network[0].out_channels == 1
    assert network(torch.rand(2, 1, 32, 32)).shape == (2, 10)


def test_vgg_refuses_images_that_its_poolings_use_up() -> None:
    with pytest.raises(MisconfigurationException, match="image_size 28 leaves nothing"):
        vgg(image_size=28, width=1 / 64)


def test_padding_is_even_and_zero() -> None:
    padded = PadTo(32)(torch.ones(1, 1, 28, 28))
    assert padded.shape == (1, 1, 32, 32)
    assert padded[..., 2:30, 2:30].min() == 1
    assert padded.sum() == 28 * 28


@pytest.mark.parametrize("make", [lecture_convnet, modern_convnet, lambda: vgg(width=1 / 16)])
def test_channels_last_changes_no_loss_and_no_gradient(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    plain = make().double()
    fast = deepcopy(plain).to(memory_format=torch.channels_last)
    images, labels = torch.rand(8, 1, 32, 32).double(), torch.arange(8)
    if make is lecture_convnet:
        images = images[:, :, :28, :28].contiguous()
    losses = []
    for network, layout in ((plain, torch.contiguous_format), (fast, torch.channels_last)):
        torch.manual_seed(1)  # the dense layers' dropout
        batch = images.contiguous(memory_format=layout)
        losses.append(nn.functional.cross_entropy(network(batch), labels))
        losses[-1].backward()
    torch.testing.assert_close(losses[0], losses[1])
    for ours, theirs in zip(fast.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, check_stride=False)

"""Inputs that excite units, in closed form for a linear layer; first filters; occlusion."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.inspection import (
    activations,
    find_layer,
    first_layer_filters,
    maximize,
    occlusion_map,
)
from runtime.errors import UserError

SHAPE = (1, 8, 8)


def convnet() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(4 * 6 * 6, 5),
    )


def linear(units: int = 3) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, units))


def start(seed: int = 0) -> Tensor:
    return torch.rand(1, *SHAPE, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("layer", ["0", "5"])
def test_an_image_excites_its_unit_more_than_noise_and_other_images_do(layer: str) -> None:
    network = convnet().eval()
    images = maximize(network, layer, None, SHAPE, steps=30, lr=0.1)
    reached = activations(network, layer, images)  # image, unit
    assert images.shape == (reached.shape[1], *SHAPE)
    before = activations(network, layer, start())[0]
    assert (reached.diagonal() > before + 0.1).all()
    others = reached.masked_fill(torch.eye(len(reached), dtype=torch.bool), -torch.inf)
    assert (reached.diagonal() > others.max(dim=0).values).all()


def test_under_decay_the_best_input_points_along_the_weights() -> None:
    """x = (1 - l2) (x + lr g), with g the weights at root mean square 1, where it stays."""
    network = linear()
    found = maximize(network, "1", None, SHAPE, steps=300, lr=0.1, l2=0.1, bounds=None)
    weights = network[1].weight.detach()
    unit_rms = weights / weights.square().mean(dim=1, keepdim=True).sqrt()
    torch.testing.assert_close(found.flatten(1), 0.9 / 0.1 * 0.1 * unit_rms, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-2.0, 3.0)])
def test_within_bounds_the_best_input_is_a_corner_of_the_box(bounds: tuple[float, float]) -> None:
    network = linear()
    found = maximize(network, "1", [2, 0], SHAPE, steps=3000, lr=0.05, bounds=bounds)
    positive = network[1].weight[[2, 0]] > 0
    corner = torch.where(positive, bounds[1], bounds[0])
    assert torch.equal(found.flatten(1), corner)


def test_jitter_moves_the_image_before_a_step_and_back_after_it() -> None:
    network = linear(1)
    (found,) = maximize(network, "1", [0], SHAPE, steps=1, lr=1.0, jitter=1, bounds=None)
    weights = network[1].weight.detach().view(SHAPE)
    step = found - (start()[0] - 0.5)
    shifted = [
        torch.roll(weights / weights.square().mean().sqrt(), (down, right), dims=(-2, -1))
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
    ]
    assert sum(torch.allclose(step, one, atol=1e-5) for one in shifted) == 1


def test_the_seed_decides_and_units_do_not_depend_on_each_other() -> None:
    network = convnet()
    before = torch.get_rng_state()
    options: dict[str, Any] = {"steps": 5, "jitter": 2, "blur": 0.5}
    images = maximize(network, "5", None, SHAPE, **options)
    assert torch.equal(images, maximize(network, "5", None, SHAPE, **options))
    assert not torch.allclose(images, maximize(network, "5", None, SHAPE, seed=1, **options))
    torch.testing.assert_close(images[3:4], maximize(network, "5", [3], SHAPE, **options))
    assert torch.equal(before, torch.get_rng_state())


def test_the_network_is_left_as_it_was() -> None:
    network = convnet().train()
    network[1].eval()
    network[0].weight.requires_grad_(False)
    values = [value.clone() for value in network.state_dict().values()]
    flags = [parameter.requires_grad for parameter in network.parameters()]
    maximize(network, "5", None, SHAPE, steps=2)
    assert all(
        torch.equal(a, b) for a, b in zip(values, network.state_dict().values(), strict=True)
    )
    assert [parameter.requires_grad for parameter in network.parameters()] == flags
    assert all(parameter.grad is None for parameter in network.parameters())
    assert [module.training for module in network] == [True, False, True, True, True, True]
    assert not any(module._forward_hooks for module in network.modules())


def refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_mistakes_are_explained() -> None:
    network = nn.Sequential()
    network.add_module("score", linear())
    network.add_module("first", nn.Identity())
    refused(lambda: find_layer(network, "frist"), r"choose one of score .*, first \(Identity\)")
    refused(lambda: maximize(linear(), "1", [3], SHAPE), r"no unit 3: choose one of 0\.\.2")
    refused(lambda: maximize(linear(), "1", [-1], SHAPE), "no unit -1")
    blind = nn.ModuleList([nn.Embedding(2, 3), nn.Linear(1, 1)])
    forward: Any = lambda x: blind[0](torch.zeros(len(x), dtype=torch.int64))  # noqa: E731
    refused(lambda: maximize(blind, "0", None, SHAPE, forward=forward), "does not depend on")
    refused(lambda: maximize(blind, "1", None, SHAPE, forward=forward), "gives no features")


def test_first_filters_are_pictures() -> None:
    network = convnet()
    torch.testing.assert_close(first_layer_filters(network, SHAPE), network[0].weight[:, 0])
    dense = linear()
    expected = dense[1].weight.view(3, 8, 8)
    torch.testing.assert_close(first_layer_filters(dense, SHAPE), expected)
    refused(lambda: first_layer_filters(linear(), (1, 9, 9)), "no convolution or fully connected")


class Corner(nn.Module):
    """Class 0 for what is in the upper right corner, 2 x 3 pixels."""

    def forward(self, images: Tensor) -> Tensor:
        assert not self.training
        score = images[:, 0, :2, -3:].sum(dim=(1, 2))
        return torch.stack([score, torch.zeros_like(score)], dim=1)


def test_only_the_corner_matters_to_one_who_looks_there() -> None:
    images = torch.rand(3, 1, 8, 9, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([0, 1, 0])
    network = Corner()
    softmax = partial(torch.softmax, dim=1)
    maps = occlusion_map(network, images, targets, 3, 2, fill=0.25, probabilities=softmax)
    assert maps.shape == (3, 3, 4)
    assert network.training
    whole = network.eval()(images).softmax(dim=1)[torch.arange(3), targets]
    expected = whole[:, None, None].repeat(1, 3, 4)
    for column in (2, 3):  # squares over columns 4-6 and 6-8; the network sees 6-8
        covered = images.clone()
        covered[:, :, :3, 2 * column : 2 * column + 3] = 0.25
        expected[:, 0, column] = network(covered).softmax(dim=1)[torch.arange(3), targets]
    torch.testing.assert_close(maps, expected)
    assert not torch.isclose(expected[:, 0, 3], whole).any()

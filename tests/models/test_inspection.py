"""Inputs that excite units, in closed form for a linear layer; first filters; occlusion."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.inspection import first_layer_filters, maximize_units, occlusion_map
from runtime.errors import UserError

SHAPE = (1, 8, 8)
PLAIN: dict[str, Any] = {"jitter": 0, "blur": 0.0, "l2": 0.0}


def convnet(kernel: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, kernel),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(4 * (9 - kernel) ** 2, 5),
    )


def linear(units: int = 3) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, units))


def start(seed: int = 0) -> Tensor:
    return torch.rand(1, *SHAPE, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("layer", ["0", "1", "5"])
def test_an_image_excites_its_unit_more_than_noise_and_other_images_do(layer):
    network = convnet().eval()
    images, found = maximize_units(network, layer, SHAPE, steps=30, lr=0.1, **PLAIN)
    with torch.no_grad():
        outputs = network[: int(layer)](torch.cat([images, start()]))
        reached = network[int(layer)](outputs).flatten(2).mean(2) if layer != "5" else None
        reached = network[5](outputs) if reached is None else reached  # image, unit
    before, reached = reached[-1], reached[:-1]
    torch.testing.assert_close(found, reached.diagonal())
    assert (found > before + 0.1).all()
    others = reached.masked_fill(torch.eye(len(reached), dtype=torch.bool), -torch.inf)
    assert (found > others.max(dim=0).values).all()


def test_under_decay_the_best_input_points_along_the_weights():
    """x = (1 - l2) (x + lr g), with g the weights at root mean square 1, where it stays."""
    network = linear()
    options = PLAIN | {"l2": 0.1, "lr": 0.1 / 40}
    found, _ = maximize_units(network, "1", SHAPE, steps=300, bounds=(-20.0, 20.0), **options)
    weights = network[1].weight.detach()
    unit_rms = weights / weights.square().mean(dim=1, keepdim=True).sqrt()
    torch.testing.assert_close(found.flatten(1), 0.9 / 0.1 * 0.1 * unit_rms, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-2.0, 3.0)])
def test_within_bounds_the_best_input_is_a_corner_of_the_box(bounds):
    network = linear()
    found, _ = maximize_units(network, "1", SHAPE, 3000, bounds=bounds, most=2, **PLAIN)
    corner = torch.where(network[1].weight[:2] > 0, bounds[1], bounds[0])
    assert torch.equal(found.flatten(1), corner)


def test_jitter_moves_the_image_before_a_step_and_back_after_it():
    network = linear(1)
    bounds = (-1.0, 2.0)  # wide enough for one step
    options = PLAIN | {"jitter": 1, "lr": 0.01}
    (found,), _ = maximize_units(network, "1", SHAPE, steps=1, bounds=bounds, **options)
    weights = network[1].weight.detach().view(SHAPE)
    step = found - (start()[0] * 3 - 1)
    inside = (found > -1) & (found < 2)
    assert inside.float().mean() > 0.9
    shifted = [
        0.03 * torch.roll(weights / weights.square().mean().sqrt(), (down, right), dims=(-2, -1))
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
    ]
    assert sum(torch.allclose(step[inside], one[inside], atol=1e-5) for one in shifted) == 1


def test_the_seed_decides_and_units_do_not_depend_on_each_other():
    network = convnet()
    before = torch.get_rng_state()
    images, _ = maximize_units(network, "5", SHAPE, steps=5)
    assert torch.equal(images, maximize_units(network, "5", SHAPE, steps=5)[0])
    assert not torch.allclose(images, maximize_units(network, "5", SHAPE, steps=5, seed=1)[0])
    torch.testing.assert_close(images[:3], maximize_units(network, "5", SHAPE, steps=5, most=3)[0])
    assert torch.equal(before, torch.get_rng_state())


def test_the_network_is_left_as_it_was():
    network = convnet().train()
    values = [value.clone() for value in network.state_dict().values()]
    maximize_units(network, "5", SHAPE, steps=2)
    assert all(
        torch.equal(a, b) for a, b in zip(values, network.state_dict().values(), strict=True)
    )
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert all(module.training for module in network)
    assert not any(module._forward_hooks for module in network.modules())


def test_an_unknown_layer_is_refused_with_the_names_of_all():
    network = nn.Sequential()
    network.add_module("first", nn.Flatten())
    network.add_module("score", nn.Linear(64, 3))
    with pytest.raises(UserError, match=r"one of first \(Flatten\), score \(Linear\)$"):
        maximize_units(network, "frist", SHAPE)


def test_first_filters_are_pictures_if_they_can_be_read():
    network = convnet(5)
    torch.testing.assert_close(first_layer_filters(network, SHAPE), network[0].weight[:, 0])
    assert first_layer_filters(convnet(), SHAPE) is None  # 3 x 3
    dense = linear()
    expected = dense[1].weight.view(3, 8, 8)
    torch.testing.assert_close(first_layer_filters(dense, SHAPE), expected)
    assert first_layer_filters(linear(), (1, 9, 9)) is None


class Corner(nn.Module):
    """Class 0 for what is in the upper right corner, 2 x 3 pixels."""

    def forward(self, images: Tensor) -> Tensor:
        score = images[:, 0, :2, -3:].sum(dim=(1, 2))
        return torch.stack([score, torch.zeros_like(score)], dim=1).softmax(dim=1)


def test_only_the_corner_matters_to_one_who_looks_there():
    images = torch.rand(3, 1, 8, 9, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([0, 1, 0])
    network = Corner()
    maps = occlusion_map(network, images, targets, 3, 2, 0.25)
    assert maps.shape == (3, 3, 4)
    whole = network(images)[torch.arange(3), targets]
    expected = whole[:, None, None].repeat(1, 3, 4)
    for column in (2, 3):  # squares over columns 4-6 and 6-8; the network sees 6-8
        covered = images.clone()
        covered[:, :, :3, 2 * column : 2 * column + 3] = 0.25
        expected[:, 0, column] = network(covered)[torch.arange(3), targets]
    torch.testing.assert_close(maps, expected)
    assert not torch.isclose(expected[:, 0, 3], whole).any()

"""The layers of a network, and what each of them gets."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from models import ConditionalGAN
from models.gan.heads import ProjectionHead
from models.layer_table import list_layers
from models.networks import Residual
from tests.models.gans import small


def found(network: nn.Module, *shape: int) -> list[tuple[str, tuple[int, ...]]]:
    """The kind of each layer and the places of those whose output it gets."""
    inputs = torch.zeros(2, *shape)
    layers = list_layers(network, lambda: network(inputs), {"input": inputs})
    return [(layer.kind, layer.inputs) for layer in layers]


class Branches(nn.Module):
    """Two layers side by side, whose outputs `join` joins, and a direct path."""

    def __init__(self, join: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.join = nn.Linear(3, 4), nn.Linear(3, 4), join

    def forward(self, inputs: Tensor) -> Tensor:
        return self.join(relu(self.first(inputs)).sqrt(), self.second(inputs))


@pytest.mark.parametrize(
    ("kind", "join"),
    [
        ("concatenate", lambda a, b: torch.cat([a, b], dim=1)),
        ("add", lambda a, b: a + b),
        ("add", lambda a, b: a.add_(b)),
        ("multiply", lambda a, b: a * b),
        ("matmul", lambda a, b: a @ b.T),
    ],
)
def test_branches_get_the_input_and_are_joined(kind: str, join: Callable[..., Tensor]) -> None:
    layers = [("input", ()), ("Linear", (0,)), ("Linear", (0,)), (kind, (1, 2))]
    assert found(Branches(join), 3) == layers


def test_a_residual_block_adds_its_input() -> None:
    network = nn.Sequential(nn.ReLU(), Residual(nn.Linear(3, 3), nn.Tanh()), nn.Flatten())
    kinds = ["input", "ReLU", "Linear", "Tanh", "add", "Flatten"]
    inputs = [(), (0,), (1,), (2,), (1, 3), (4,)]
    assert found(network, 3) == [*zip(kinds, inputs, strict=True)]


def test_a_gate_of_one_layer_joins_nothing() -> None:
    class Swish(nn.Sequential):
        def forward(self, inputs: Tensor) -> Tensor:
            features = super().forward(inputs)
            return features * features.sigmoid()

    network = nn.Sequential(Swish(nn.Linear(3, 3)), nn.Identity())
    assert found(network, 3) == [("input", ()), ("Linear", (0,)), ("Identity", (1,))]


def test_what_happens_within_a_layer_is_not_listed() -> None:
    class Attention(nn.MultiheadAttention):
        def forward(self, inputs: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(inputs, inputs, inputs)[0]

    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))

        def forward(self, inputs: Tensor) -> Tensor:
            return inputs + self.scale * inputs

    assert found(nn.Sequential(Scale(), Scale()), 3)[1:] == [("Scale", (0,)), ("Scale", (1,))]
    kinds = [kind for kind, _ in found(Attention(4, 2, batch_first=True), 3, 4)]
    assert kinds[-1] == "Attention"


def test_an_input_comes_before_its_use_and_only_if_it_is_used() -> None:
    model = small(ConditionalGAN, head=ProjectionHead)
    inputs = {"image": torch.zeros(2, *model.image_shape), "class": torch.tensor([0, 1])}
    layers = list_layers(model.discriminator, lambda: model.realness(*inputs.values()), inputs)
    kinds = [layer.kind for layer in layers]
    place = kinds.index("class")
    assert kinds[place : place + 2] == ["class", "ClassProjection"]
    features, add = kinds.index("Linear") - 1, kinds.index("add")
    assert layers[place + 1].inputs == (features, place)
    assert layers[add].inputs == (features + 1, place + 1)
    only = list_layers(
        model.discriminator.trunk, lambda: model.discriminator.trunk(inputs["image"]), inputs
    )
    assert "class" not in [layer.kind for layer in only]


def test_a_layer_that_is_used_twice_has_its_parameters_once() -> None:
    layer, inputs = nn.Linear(3, 3), torch.zeros(2, 3)
    layers = list_layers(layer, lambda: layer(layer(inputs)), {"input": inputs})
    assert [(found.parameters, found.inputs) for found in layers[1:]] == [(12, (0,)), (0, (1,))]


def test_an_unknown_origin_is_left_open() -> None:
    class Detour(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return torch.tensor(inputs.tolist())

    network = nn.Sequential(Detour(), nn.Linear(3, 2))
    other = torch.zeros(2, 3)
    layers = list_layers(network, lambda: network[1](other), {"input": torch.zeros(2, 3)})
    assert [(found.kind, found.inputs) for found in layers] == [("Linear", ())]
    assert not network[1]._forward_hooks

"""The list and the picture of a model's layers."""

from functools import partial
from typing import Any

import pytest
import torch
from lightning.pytorch.demos.boring_classes import BoringModel

from figures.network import LONGEST, Layer, draw_networks, layers_of
from models import GAN, ConditionalGAN, FunctionMLP, IrisMLP
from models.averaging import Averaging
from models.gan.lecture import LectureGenerator, LectureTrunk
from models.networks import FeedForward

LECTURE = {"generator": LectureGenerator, "trunk": LectureTrunk}


def test_the_layers_of_the_slides_iris_network() -> None:
    (layers,) = layers_of(IrisMLP(average=Averaging(0.9))).values()
    assert [layer[:3] for layer in layers if layer.kind != "Flatten"] == [
        ("input", (4,), 0),
        ("Linear", (128,), 640),
        ("Sigmoid", (128,), 0),
        ("Linear", (3,), 387),
    ]


@pytest.mark.parametrize("conditioning", ["one_hot", "embedding"])
def test_all_parameters_of_a_gan_are_listed_once_and_nothing_changes(conditioning: Any) -> None:
    model = ConditionalGAN(
        (1, 28, 28), 10, conditioning=conditioning, average=Averaging(0.9), spectral_norm=True
    )
    model.discriminator.eval()  # frozen, say
    modes = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = layers_of(model)
    for name in ("generator", "discriminator"):
        count = sum(p.numel() for p in model.get_submodule(name).parameters())
        assert sum(layer.parameters for layer in found[name]) == count
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes


def test_noise_and_class_are_as_long_as_what_the_generator_gets() -> None:
    found = layers_of(ConditionalGAN((1, 28, 28), 10, latent_dim=128, **LECTURE))
    assert [layer[:2] for layer in found["generator"][:4]] == [
        ("noise", (128,)), ("class", (10,)), ("Linear", (1024,)), ("Tanh", (1024,)),
    ]  # fmt: skip
    assert found["discriminator"][0][:2] == ("image", (1, 28, 28))
    assert not any(layer.kind == "class" for layer in layers_of(GAN((1, 28, 28)))["generator"])


def test_a_model_without_an_example_has_no_list() -> None:
    assert layers_of(BoringModel()) == {}


def test_a_picture_has_a_box_for_each_layer_below_its_heading() -> None:
    found = layers_of(FunctionMLP(network=partial(FeedForward, hidden=[5, 6])))
    axes = draw_networks(found).axes[0]
    texts = [text.get_text() for text in axes.texts if text.get_text()]
    assert len(axes.patches) == len(found["network"]) == 7
    assert texts[0] == "network: 53 parameters"  # 1 x 5 + 5, 5 x 6 + 6, 6 x 1 + 1
    assert texts[1:6] == ["layer", "output shape", "parameters", "input", "1"]
    assert texts[-3:] == ["Linear", "1", "7"]


@pytest.mark.parametrize(("layers", "columns"), [(LONGEST, 1), (2 * LONGEST + 1, 3), (200, 6)])
def test_a_deep_network_has_several_columns(layers: int, columns: int) -> None:
    axes = draw_networks({"network": [Layer("ReLU", (1,))] * layers}).axes[0]
    assert len({box.get_x() for box in axes.patches}) == columns
    assert len(axes.patches) == layers

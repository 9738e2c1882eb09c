"""The table and the picture of a model's layers."""

from functools import partial
from pathlib import Path

import pytest
import torch

from callbacks.network_figure import NetworkFigure, draw_networks, layers_of
from datamodules import Iris
from models import GAN, ConditionalGAN, FunctionMLP, IrisMLP
from models.gan_networks import LectureGenerator, LectureTrunk
from models.networks import FeedForward
from tests.callbacks.runs import trainer


def test_the_layers_of_the_slides_iris_network() -> None:
    (layers,) = layers_of(IrisMLP(ema_decay=0.9)).values()
    found = [(layer.kind, layer.output_shape, layer.parameters) for layer in layers[1:]]
    assert found == [("Linear", (128,), 640), ("Sigmoid", (128,), 0), ("Linear", (3,), 387)]


@pytest.mark.parametrize("kind", [GAN, partial(ConditionalGAN, num_classes=10)])
def test_both_networks_of_a_gan_in_the_order_of_computation(kind: type[GAN]) -> None:
    networks = {"generator": LectureGenerator, "trunk": LectureTrunk}
    model = kind((1, 28, 28), **networks, ema_decay=0.9).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = layers_of(model)
    for name in ("generator", "discriminator"):
        count = sum(p.numel() for p in model.get_submodule(name).parameters())
        assert sum(layer.parameters for layer in found[name]) == count
    assert found["generator"][-1].output_shape == (1, 28, 28)
    assert found["discriminator"][0].output_shape == (64, 28, 28)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_picture_has_a_box_for_each_layer() -> None:
    found = layers_of(FunctionMLP(network=partial(FeedForward, hidden=[5, 6])))
    axes = draw_networks(found).axes[0]
    texts = [text.get_text() for text in axes.texts]
    assert len(axes.patches) == len(found["network"]) == 6
    assert texts[0] == "network: 53 parameters"  # 1 x 5 + 5, 5 x 6 + 6, 6 x 1 + 1
    boxes = [text for text in texts if text][1:]
    assert boxes[-3:] == ["Linear", "1", "7"]


def test_a_new_run_draws_its_networks(tmp_path: Path) -> None:
    trainer(tmp_path, NetworkFigure()).fit(IrisMLP(), Iris())
    assert [*tmp_path.glob("**/network.png")]

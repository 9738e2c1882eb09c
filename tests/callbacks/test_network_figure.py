"""The table and the picture of a model's layers."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.text import Annotation

from callbacks.network_figure import (
    LONGEST,
    MARGIN,
    ROW,
    WIDTH,
    NetworkFigure,
    draw_networks,
    layers_of,
)
from datamodules import Iris
from models import GAN, ConditionalGAN, FunctionMLP, IrisMLP
from models.averaging import Averaging
from models.gan.lecture import LectureGenerator, LectureTrunk
from models.layer_table import Layer
from models.networks import FeedForward
from tests.callbacks.runs import trainer


def test_the_layers_of_the_slides_iris_network() -> None:
    (layers,) = layers_of(IrisMLP(average=Averaging(0.9))).values()
    found = [
        (layer.kind, layer.output_shape, layer.parameters)
        for layer in layers
        if layer.kind != "Flatten"
    ]
    assert found == [
        ("input", (4,), 0),
        ("Linear", (128,), 640),
        ("Sigmoid", (128,), 0),
        ("Linear", (3,), 387),
    ]


@pytest.mark.parametrize("kind", [GAN, partial(ConditionalGAN, num_classes=10)])
def test_both_networks_of_a_gan_in_the_order_of_computation(kind: type[GAN]) -> None:
    networks = {"generator": LectureGenerator, "trunk": LectureTrunk}
    model = kind((1, 28, 28), **networks, average=Averaging(0.9)).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = layers_of(model)
    for name in ("generator", "discriminator"):
        count = sum(p.numel() for p in model.get_submodule(name).parameters())
        assert sum(layer.parameters for layer in found[name]) == count
    assert found["generator"][-1].output_shape == (1, 28, 28)
    assert found["discriminator"][1].output_shape == (64, 28, 28)
    names = [layer.kind for layer in found["generator"] if not layer.inputs]
    assert names == (["noise", "class"] if model.num_classes else ["noise"])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def arrows(axes: Any) -> list[Any]:
    return [text for text in axes.texts if isinstance(text, Annotation)]


def test_a_picture_has_a_box_for_each_layer_below_its_heading() -> None:
    found = layers_of(FunctionMLP(network=partial(FeedForward, hidden=[5, 6])))
    axes = draw_networks(found).axes[0]
    texts = [text.get_text() for text in axes.texts if text.get_text()]
    assert len(axes.patches) == len(found["network"]) == 7
    assert texts[0] == "network: 53 parameters"  # 1 x 5 + 5, 5 x 6 + 6, 6 x 1 + 1
    assert texts[1:6] == ["layer", "output shape", "parameters", "input", "1"]
    assert texts[-3:] == ["Linear", "1", "7"]
    assert len(arrows(axes)) == 6
    assert not axes.lines


def test_a_branch_has_an_arrow_beside_the_column_and_no_other() -> None:
    shapes = [(), (0,), (0,), (1, 2), ()]
    layers = [Layer("", f"layer {k}", (k,), 0, inputs) for k, inputs in enumerate(shapes)]
    axes = draw_networks({"network": layers}).axes[0]
    heads = [(round(arrow.xy[0] - MARGIN, 2), arrow.xy[1] // ROW) for arrow in arrows(axes)]
    above, beside = WIDTH / 2, -0.02
    assert sorted(heads) == sorted([(above, 1), (above, 3), (beside, 2), (beside, 3)])


def test_a_deep_network_has_several_columns() -> None:
    layers = [Layer("", "ReLU", (1,), 0, (k - 1,) if k else ()) for k in range(2 * LONGEST + 1)]
    layers[-1] = layers[-1]._replace(inputs=(0, len(layers) - 2))
    figure = draw_networks({"network": layers})
    corners = {round(box.get_x(), 2) for box in figure.axes[0].patches}
    assert corners == {round(MARGIN + k * (MARGIN + WIDTH), 2) for k in range(3)}
    assert len(arrows(figure.axes[0])) == len(layers)
    assert figure.get_size_inches()[1] < ROW * (LONGEST + 3)
    rows = [line for line in figure.axes[0].lines if line.get_xdata()[0] == line.get_xdata()[1]]
    assert len(rows) == 3  # the long arrow passes all columns


def test_a_very_deep_network_has_longer_columns() -> None:
    layers = [Layer("", "ReLU", (1,), 0)] * (7 * LONGEST)
    axes = draw_networks({"network": layers}).axes[0]
    assert len({box.get_x() for box in axes.patches}) == 6
    assert len(axes.patches) == len(layers)


def test_a_new_run_draws_its_networks(tmp_path: Path) -> None:
    trainer(tmp_path, NetworkFigure()).fit(IrisMLP(), Iris())
    assert [*tmp_path.glob("**/network.png")]

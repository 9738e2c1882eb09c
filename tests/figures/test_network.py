"""The picture of a model's layers."""

from functools import partial

import pytest

from callbacks.network import layers_of
from figures.network import MAX_ROWS, Layer, plot_networks
from models import FunctionMLP
from models.networks import FeedForward


def test_a_picture_has_a_box_for_each_layer_below_its_heading():
    found = layers_of(FunctionMLP(network=partial(FeedForward, hidden=[5, 6])))
    axes = plot_networks(found).axes[0]
    texts = [text.get_text() for text in axes.texts if text.get_text()]
    assert len(axes.patches) == len(found["network"]) == 7
    assert texts[0] == "network: 53 parameters"  # 1 x 5 + 5, 5 x 6 + 6, 6 x 1 + 1
    assert texts[1:6] == ["layer", "output shape", "parameters", "input", "1"]
    assert texts[-3:] == ["Linear", "1", "7"]


@pytest.mark.parametrize(("layers", "columns"), [(MAX_ROWS, 1), (2 * MAX_ROWS + 1, 3), (200, 6)])
def test_a_deep_network_has_several_columns(layers, columns):
    axes = plot_networks({"network": [Layer("ReLU", (1,))] * layers}).axes[0]
    assert len({box.get_x() for box in axes.patches}) == columns
    assert len(axes.patches) == layers

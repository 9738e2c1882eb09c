"""The picture of a model's layers."""

from functools import partial

import pytest

from callbacks.network import layers_of
from figures.network import MAX_ROWS, ROW, Layer, plot_networks
from models import FunctionMLP
from models.networks import FeedForward


def test_a_picture_has_a_box_for_each_layer_below_its_heading():
    found = layers_of(FunctionMLP(network=partial(FeedForward, hidden=[5, 6])))
    axes = plot_networks(found).axes[0]
    texts = [text.get_text() for text in axes.texts if text.get_text()]
    assert len(axes.patches) == len(found["network"]) == 7
    assert texts[0] == "network: 53 parameters"  # 1 x 5 + 5, 5 x 6 + 6, 6 x 1 + 1
    assert texts[1:7] == ["layer", "from", "output shape", "parameters", "1  input", "1"]
    assert texts[-3:] == ["7  Linear", "1", "7"]


@pytest.mark.parametrize(("layers", "columns"), [(MAX_ROWS, 1), (2 * MAX_ROWS + 1, 3), (200, 6)])
def test_a_deep_network_has_several_columns(layers, columns):
    axes = plot_networks({"network": [Layer("ReLU", (1,))] * layers}).axes[0]
    assert len({box.get_x() for box in axes.patches}) == columns
    assert len(axes.patches) == layers


def test_parallel_outputs_are_no_chain():
    sources = [(), {0}, {1}, {1}, {0, 1, 2}, {0, 1, 2, 3, 4}]
    layers = [Layer("Linear", (1,), sources=k) for k in sources]
    axes = plot_networks({"network": layers}).axes[0]
    lines = [line.get_segments()[0][:, 1].mean() / ROW for line in axes.collections]
    assert lines == pytest.approx([1, 2, 5])  # none to the parallel ones, in rows 3 and 4
    texts = [text.get_text() for text in axes.texts]
    assert [texts[k] for k in range(texts.index("1  Linear") + 1, len(texts), 4)] == [
        "", "", "", "2", "1, 2, 3", "1, ..., 4, 5",
    ]  # fmt: skip

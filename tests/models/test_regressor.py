"""Function approximation by one hidden layer: its parameters, initialization and errors."""

import math
from functools import partial

import pytest
import torch

from datamodules import Functions
from models import FunctionMLP
from models.networks import OneHiddenLayer
from tests.models.classifiers import count_parameters, trainer


def test_it_is_the_theorems_sum_and_a_constant():
    model = FunctionMLP((3,), partial(OneHiddenLayer, hidden_units=7)).double()
    assert count_parameters(model.network) == 7 * 3 + 7 + 7 + 1
    w, b, v, c = model.network.parameters()
    x = torch.randn(5, 3, dtype=torch.float64)
    expected = sum(v[0, i] / (1 + (-(x @ w[i] + b[i])).exp()) for i in range(7)) + c
    torch.testing.assert_close(model(x)[:, 0], expected)


def test_units_start_to_turn_all_over_the_interval():
    torch.manual_seed(0)
    layer = OneHiddenLayer((1,), 1, 4000)[1].requires_grad_(False)
    turns = -layer.bias / layer.weight[:, 0]
    assert turns.abs().max() <= math.pi * 1.0001
    assert ((turns > 0) & (turns < math.pi / 2)).float().mean() == pytest.approx(0.25, abs=0.03)
    slopes = layer.weight.abs().log() / math.log(4000)  # uniform in 0..1
    assert 0 <= slopes.min() < 0.01
    assert slopes.max() <= 1.0001
    assert slopes.mean() == pytest.approx(0.5, abs=0.02)


def test_slopes_are_shared_by_the_variables():
    """As many units cover a square: their widths reach down to 1 / 4000^(1/2) of it."""
    layer = OneHiddenLayer((2,), 1, 4000)[1].requires_grad_(False)
    slopes = layer.weight.norm(dim=1).log() / math.log(4000)
    assert 0 <= slopes.min() < 0.01
    assert 0.49 < slopes.max() <= 0.5001
    assert (layer.weight[:, 0].abs() / layer.weight.norm(dim=1)).std() > 0.2  # in all directions


def test_logged_errors_are_those_of_all_points_at_once():
    torch.manual_seed(0)
    model, data = FunctionMLP(), Functions(num_eval=101, batch_size=7)
    (logged,) = trainer().test(model, datamodule=data, verbose=False)
    points, values = data.splits.test
    errors = (model(points) - values).detach().abs()
    assert logged["test/sup_error"] == pytest.approx(errors.max().item(), rel=1e-5)
    assert logged["test/loss"] == pytest.approx(errors.square().mean().item(), rel=1e-5)


def test_mixed_precision_does_not_blur_the_function():
    model, points = FunctionMLP(), torch.randn(5, 1)
    batch = points, points.sin()
    expected = model.step(batch)["predictions"]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model.step(batch)["predictions"], expected)

"""Function approximation: one hidden layer, its errors, and what more units bring."""

import math
from functools import partial

import pytest
import torch
from lightning import seed_everything
from torch import Tensor, nn

from datamodules import Functions
from models import FunctionMLP
from models.approximation import approximation_error, levenberg_marquardt
from models.networks import OneHiddenLayer, count_parameters
from tests.models.classifiers import fit, trainer


def test_it_is_the_theorems_sum_and_a_constant() -> None:
    model = FunctionMLP((3,), partial(OneHiddenLayer, hidden_units=7)).double()
    assert count_parameters(model.network) == 7 * 3 + 7 + 7 + 1
    w, b, v, c = model.network.parameters()
    x = torch.randn(5, 3, dtype=torch.float64)
    expected = sum(v[0, i] / (1 + (-(x @ w[i] + b[i])).exp()) for i in range(7)) + c
    torch.testing.assert_close(model(x)[:, 0], expected)


def test_units_start_to_turn_all_over_the_interval() -> None:
    torch.manual_seed(0)
    layer = OneHiddenLayer((1,), 1, 4000)[1].requires_grad_(False)
    turns = -layer.bias / layer.weight[:, 0]
    assert turns.abs().max() <= math.pi * 1.0001
    assert ((turns > 0) & (turns < math.pi / 2)).float().mean() == pytest.approx(0.25, abs=0.03)
    slopes = layer.weight.abs().log() / math.log(4000)  # uniform in 0..1
    assert 0 <= slopes.min() < 0.01
    assert slopes.max() <= 1.0001
    assert slopes.mean() == pytest.approx(0.5, abs=0.02)


def test_logged_errors_are_those_of_all_points_at_once() -> None:
    torch.manual_seed(0)
    model, data = FunctionMLP(), Functions(num_eval=101, batch_size=7)
    (logged,) = trainer().test(model, datamodule=data, verbose=False)
    points, values = data.splits.test
    errors = (model(points) - values).detach().abs()
    assert logged["test/sup_error"] == pytest.approx(errors.max().item(), rel=1e-5)
    assert logged["test/loss"] == pytest.approx(errors.square().mean().item(), rel=1e-5)


def test_training_lowers_both_errors() -> None:
    seed_everything(0, verbose=False)
    model, data = (
        FunctionMLP(network=partial(OneHiddenLayer, hidden_units=32)),
        Functions(function="sin(x)", num_train=1024),
    )
    (before,) = trainer().test(model, datamodule=data, verbose=False)
    fit(model, data, max_epochs=15)
    (after,) = trainer().test(model, datamodule=data, verbose=False)
    assert after["test/loss"] < 0.002 < before["test/loss"]
    assert after["test/sup_error"] < 0.15 < before["test/sup_error"]


def test_predictions_come_with_their_targets() -> None:
    model, data = FunctionMLP((2,)), Functions(function="x1 * x2", dimensions=2)
    batches = trainer().predict(model, datamodule=data)
    points, values = data.splits.test
    assert torch.equal(torch.cat([b["targets"] for b in batches]), values)
    torch.testing.assert_close(torch.cat([b["predictions"] for b in batches]), model(points))


def test_levenberg_marquardt_solves_a_linear_problem_at_once() -> None:
    torch.manual_seed(0)
    points = torch.randn(40, 2, dtype=torch.float64)
    values = points @ torch.tensor([[2.0], [-3.0]], dtype=torch.float64) + 0.5
    network = nn.Linear(2, 1).double()
    assert levenberg_marquardt(network, points, values, steps=6) < 1e-15
    torch.testing.assert_close(network.weight.detach(), torch.tensor([[2.0, -3.0]]).double())


def split(function: str, count: int) -> tuple[Tensor, Tensor]:
    data = Functions(function=function, num_train=count, sampling="grid", num_eval=1000)
    data.setup()
    return data.splits.train, data.splits.test


def test_approximation_leaves_the_global_generator_alone() -> None:
    train, test = split("sin(x)", 64)
    state = torch.get_rng_state()
    first = approximation_error(3, train, test, steps=5)
    assert torch.equal(torch.get_rng_state(), state)
    assert approximation_error(3, train, test, steps=5) == first
    assert approximation_error(3, train, test, steps=5, seed=1) != first


@pytest.mark.slow
@pytest.mark.parametrize("function", ["abs(x)", "x * sin(3 * x)"])
def test_error_falls_with_the_number_of_units(function: str) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small matrices, which more threads only slow down
    train, test = split(function, 512)
    try:
        errors = [approximation_error(n, train, test) for n in (2, 8, 32, 256)]
    finally:
        torch.set_num_threads(threads)
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 30

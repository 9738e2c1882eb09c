"""The best approximation by N units: the method, and what more units bring."""

import pytest
import torch
from torch import Tensor, nn

from datamodules import Functions
from examples.universal_approximation import (
    approximation_error,
    levenberg_marquardt,
    plot_error_against_width,
)


def test_levenberg_marquardt_solves_a_linear_problem_at_once():
    torch.manual_seed(0)
    points = torch.randn(40, 2, dtype=torch.float64)
    values = points @ torch.tensor([[2.0], [-3.0]], dtype=torch.float64) + 0.5
    network = nn.Linear(2, 1).double()
    assert levenberg_marquardt(network, points, values, steps=6) < 1e-15
    torch.testing.assert_close(network.weight.detach(), torch.tensor([[2.0, -3.0]]).double())


def split(function: str, count: int) -> tuple[Tensor, Tensor]:
    data = Functions(function=function, num_train=count, num_eval=1000)
    data.setup()
    return data.splits.train, data.splits.test


def test_approximation_leaves_the_global_generator_alone():
    train, test = split("sin(x)", 64)
    state = torch.get_rng_state()
    first = approximation_error(3, train, test, steps=5)
    assert torch.equal(torch.get_rng_state(), state)
    assert approximation_error(3, train, test, steps=5) == first
    assert approximation_error(3, train, test, steps=5, seed=1) != first


@pytest.mark.slow
@pytest.mark.parametrize("function", ["abs(x)", "x * sin(3 * x)"])
def test_error_falls_with_the_number_of_units(function):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small matrices, which more threads only slow down
    train, test = split(function, 512)
    try:
        errors = [approximation_error(n, train, test) for n in (2, 8, 32, 256)]
    finally:
        torch.set_num_threads(threads)
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 30


def test_errors_against_width_are_joined_at_their_medians():
    axes = plot_error_against_width([4, 2, 2, 2], [0.1, 0.9, 0.3, 0.5]).axes[0]
    points, line = axes.lines
    assert len(points.get_xdata()) == 4
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([2, 4], [0.5, 0.1])
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")

"""Formulas, the refusal of unsafe ones, and the points at which they are sampled."""

import math

import numpy as np
import pytest
import torch

from datamodules import Functions, Splits
from datamodules.functions import evaluate
from runtime.errors import UserError

X = np.array([-2.0, -0.5, 0.0, 1.5])


def splits(*args: object, **kwargs: object) -> Splits:
    data = Functions(*args, **kwargs)
    data.setup()
    return data.splits


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("sin(x)", np.sin(X)),
        (" x ** 2 - 3*x / 4 + 1 ", X**2 - 3 * X / 4 + 1),
        ("-2 ** 2 + 2 ** 3 ** 2 + 0 * x", -4 + 512 + 0 * X),
        ("exp(-x**2) * cos(pi * x) + e", np.exp(-(X**2)) * np.cos(np.pi * X) + np.e),
        ("x > 0", [0, 0, 0, 1]),
        ("(x > -1) + (x > 1)", [0, 1, 1, 2]),
        ("-(x >= 0)", [0, 0, -1, -1]),
        ("where(x < 0, abs(x), maximum(x, 1))", [2, 0.5, 1, 1.5]),
        ("3", [3, 3, 3, 3]),
        ("1 / (pi - pi)", [np.inf] * 4),
        ("9**9**9**9", [np.inf] * 4),
    ],
)
def test_formulas_have_their_values(formula, expected):
    np.testing.assert_allclose(evaluate(formula, {"x": X}), expected)


@pytest.mark.parametrize(
    ("formula", "part"),
    [
        ("__import__('os').system('true')", "__import__"),
        ("x.real", "x.real"),
        ("x + " * 900 + "y", "'y' is not part of a formula"),
        ("x[0]", "x\\[0\\]"),
        ("(lambda: x)()", "lambda"),
        ("eval(x)", "'eval\\(x\\)' is not part"),
        ("sin", "'sin' is not part"),
        ("sin(x, x)", "'sin\\(x, x\\)' is not part"),  # numpy would write into the second
        ("sin(*x)", "\\*x"),
        ("sin(x, out=x)", "out=x"),
        ("x // 2", "'x // 2' is not part"),
        ("-1 < x < 1", "'-1 < x < 1' is not part"),
        ("'a' * x", "'a'\" is not part"),
        ("sin(x", "never closed"),
        ("1" + "0" * 400, "int too large"),
        ("-" * 100_000 + "x", "cannot be evaluated"),
    ],
)
def test_anything_else_is_refused_in_one_line(formula, part):
    with pytest.raises(UserError, match=part) as caught:
        evaluate(formula, {"x": X})
    assert "--data.function" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 450


def test_points_and_values_of_one_variable():
    train, val, test = splits("sin(x)", num_train=200, num_eval=11)
    assert train.inputs.shape == train.targets.shape == (200, 1)
    for split in (train, val, test):
        assert split.inputs.dtype == split.targets.dtype == torch.float32
        assert split.inputs.abs().max() <= math.pi + 1e-6
        torch.testing.assert_close(split.targets, split.inputs.sin(), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(test.inputs[:, 0], torch.linspace(-math.pi, math.pi, 11))
    torch.testing.assert_close(val.inputs[:, 0], (test.inputs[1:, 0] + test.inputs[:-1, 0]) / 2)


def test_points_and_values_of_two_variables():
    train, val, test = splits("x1 - 2 * x2", dimensions=2, num_train=11, num_eval=26)
    assert train.inputs.shape == (9, 2)
    assert test.inputs.shape == (25, 2)
    assert val.inputs.shape == (16, 2)
    assert (test.inputs[:5, 0] == test.inputs[0, 0]).all()  # the last variable runs fastest
    torch.testing.assert_close(test.targets[:, 0], test.inputs[:, 0] - 2 * test.inputs[:, 1])


@pytest.mark.parametrize(("num", "dimensions", "found"), [(7, 1, 7), (125, 3, 125), (124, 3, 64)])
def test_a_grid_holds_at_most_so_many_points(num, dimensions, found):
    train = splits("x1", dimensions, num).train
    assert train.inputs.shape == (found, dimensions)
    assert train.inputs.unique(dim=0).shape[0] == found
    assert train.inputs.max().item() == pytest.approx(math.pi)


def test_a_function_without_values_is_refused_with_a_remedy():
    with pytest.raises(UserError, match=r"log\(x\).*no finite value at \(-"):
        splits("log(x)")
    with pytest.raises(UserError, match=r"'x' is not part .*names are pi, e, x1, x2, sin"):
        Functions("sin(x)", dimensions=2)
    with pytest.raises(UserError, match=r"num_eval 8 .*set --data.num_eval to 9"):
        Functions("x1", dimensions=2, num_eval=8)
    assert len(splits("x1", dimensions=2, num_eval=9).test.targets) == 9

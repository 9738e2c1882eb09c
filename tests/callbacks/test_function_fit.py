"""Training ends with pictures of a gate's decisions and of a function's fit."""

import pytest
import torch
from torch import nn

from callbacks import Figures
from callbacks.function_fit import fit_title, probability_surface
from datamodules import Functions, Gates, Iris
from models import FunctionMLP, GateLogistic, GateMLP
from models.networks import FeedForward
from tests.callbacks.runs import Small, pictures, trainer

OURS = {"decision_surface.png", "function_fit.png"}


def test_the_decision_surface_has_the_first_input_to_the_right():
    model = GateLogistic()
    layer = next(part for part in model.network.modules() if isinstance(part, nn.Linear))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[10.0, 1.0]]))
        layer.bias.fill_(-5.0)
    axis = torch.linspace(-0.5, 1.5, 5)
    surface = probability_surface(model.train(), axis)
    torch.testing.assert_close(surface, torch.sigmoid(10 * axis[None, :] + axis[:, None] - 5))
    assert model.training


def test_gates_end_with_their_surface_and_flowers_do_not(tmp_path):
    trainer(tmp_path / "gate", Figures()).fit(GateMLP(), datamodule=Gates())
    assert pictures(tmp_path / "gate") & OURS == {"decision_surface.png"}
    trainer(tmp_path / "iris", Figures()).fit(Small((4,), 3), datamodule=Iris())
    assert not pictures(tmp_path / "iris") & OURS


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_a_function_ends_with_its_errors_and_its_fit_if_it_can_be_drawn(
    dimensions, tmp_path, capsys
):
    data = Functions(function="x1", dimensions=dimensions, num_train=64, num_eval=64)
    trainer(tmp_path, Figures()).fit(FunctionMLP((dimensions,)), datamodule=data)
    assert pictures(tmp_path) & OURS == ({"function_fit.png"} if dimensions < 3 else set())
    assert "Fit at 64 points: largest error " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("hidden", "title"),
    [(0, "x1, no hidden units"), (1, "x1, 1 hidden unit"), ([5, 6], "x1, 5 + 6 hidden units")],
)
def test_the_title_has_the_hidden_units(hidden, title):
    assert fit_title("x1", FeedForward((1,), 1, hidden)) == title

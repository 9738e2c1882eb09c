"""Pictures of decisions and of fits show what they say."""

import math

import pytest
import torch
from matplotlib.contour import QuadContourSet

from figures.functions import plot_curve, plot_heat_maps, plot_surface

AXIS = torch.linspace(-0.5, 1.5, 5)
POINTS, TARGETS = torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([0, 1])


def test_points_lie_on_the_decision_surface():
    surface = torch.sigmoid(10 * AXIS[None, :] + AXIS[:, None] - 5)
    axes = plot_surface(AXIS, surface, POINTS, TARGETS, "OR").axes[0]
    shown = [scatter.get_offsets().tolist() for scatter in axes.collections[-2:]]
    assert shown == [[[0.0, 1.0]], [[1.0, 0.0]]]
    assert axes.get_title() == "OR: 0.5 along the black line"
    flat = plot_surface(AXIS, torch.full((5, 5), 0.2), POINTS, TARGETS)
    assert flat.axes[0].get_title() == "no 0.5 line"


@pytest.mark.parametrize(("low", "drawn"), [(0.46, False), (0.4, True)])
def test_an_undecided_surface_says_so_and_has_no_line(low, drawn):
    surface = torch.linspace(low, 0.52, 25).view(5, 5)
    axes = plot_surface(AXIS, surface, POINTS, TARGETS, "XOR").axes[0]
    undecided = "XOR: undecided, P(1) is 0.46 to 0.52 everywhere"
    assert axes.get_title() == ("XOR: 0.5 along the black line" if drawn else undecided)
    assert any(isinstance(part, QuadContourSet) for part in axes.collections) == drawn


def test_a_curve_names_its_errors_and_shows_truth_data_and_fit():
    x = torch.linspace(0, 1, 5)
    fit = x + torch.tensor([0, 0, -0.5, 0, 0.1])
    axes = plot_curve(x, x, fit, x[:, None], x[:, None] + 0.25, "x1").axes[0]
    assert axes.get_title() == f"x1\nlargest error 0.5, root mean square {math.sqrt(0.26 / 5):.3g}"
    truth, data, drawn = axes.lines
    assert [*truth.get_ydata()] == x.tolist()
    assert [*drawn.get_ydata()] == pytest.approx(fit.tolist())
    assert [*data.get_ydata()] == pytest.approx((x + 0.25).tolist())


def test_heat_maps_have_the_first_variable_to_the_right():
    axis, truth = torch.arange(9.0).view(3, 3) % 3, torch.arange(9.0).view(3, 3)
    figure = plot_heat_maps(axis, truth, truth + 0.5)
    meshes = [axes.collections[0] for axes in figure.axes[:3]]
    assert meshes[0].get_array().ravel().tolist() == truth.T.ravel().tolist()
    assert meshes[2].get_array().ravel().tolist() == [0.5] * 9
    assert meshes[2].get_clim() == (-0.5, 0.5)

"""Figures of points show what the model computes there."""

from types import SimpleNamespace

import numpy as np
import torch

from figures.points import SIDE, arrows, plot_plane


def test_the_probability_of_real_is_drawn_where_the_discriminator_sees_it():
    """Its logit is x + 2 y: columns of the raster are x, rows are y, from below."""
    model = SimpleNamespace(
        path=lambda *_: None, encodes=False, directions=lambda *_: None,
        realness=lambda points: points @ torch.tensor([1.0, 2.0]),
    )  # fmt: skip
    axes = plot_plane(model, *torch.rand(5, 3, 2)[:2], *torch.rand(2, 3, 2), None, "P").axes[0]
    (shown,) = axes.images
    axis = np.linspace(0, 1, SIDE)
    expected = 1 / (1 + np.exp(-(axis + 2 * axis[:, None])))
    np.testing.assert_allclose(shown.get_array(), expected, rtol=1e-5)
    assert (shown.origin, shown.get_extent(), axes.get_ylim()) == ("lower", [0, 1, 0, 1], (0, 1))


def test_arrows_begin_at_their_points():
    points, moves = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[5.0, 6.0], [7.0, 8.0]])
    assert [part.tolist() for part in arrows(points, moves)] == [[1, 3], [2, 4], [5, 7], [6, 8]]

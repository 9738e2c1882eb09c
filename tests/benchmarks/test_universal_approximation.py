"""The figure of errors against the number of hidden units."""

from benchmarks.universal_approximation import draw_error_against_width


def test_errors_against_width_are_joined_at_their_medians() -> None:
    axes = draw_error_against_width([4, 2, 2, 2], [0.1, 0.9, 0.3, 0.5]).axes[0]
    points, line = axes.lines
    assert len(points.get_xdata()) == 4
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([2, 4], [0.5, 0.1])
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")

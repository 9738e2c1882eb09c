"""Curves of a run: what they show."""

from io import StringIO
from typing import Any

import pandas as pd
import pytest

from callbacks.figures import panels_of
from figures.curves import plot_curves


def curves(text: str) -> Any:
    table = pd.read_csv(StringIO(text)).groupby("step").last()
    return plot_curves(table, panels_of([*table])).axes


def lines(axes: Any) -> dict[str, tuple[float, ...]]:
    """The values of each line by its name in the legend."""
    named = (line for line in axes.lines if not line.get_label().startswith("_"))
    return {line.get_label(): tuple(line.get_ydata()) for line in named}


def test_curves_have_the_names_that_are_printed():
    text = "step,train/d_loss,train/acc_real,val/d_loss\n1,0.5,0.9,\n3,0.25,1.0,0.3\n"
    losses, shares = curves(text)
    assert lines(losses) == {"d_loss, training": (0.5, 0.25), "d_loss, validation": (0.3,)}
    assert lines(shares) == {"acc_real, training": (0.9, 1.0), "undecided D": (0.5, 0.5)}
    assert all(line.get_marker() == "o" for line in losses.lines)  # a single point is visible


def test_a_score_has_a_panel_with_its_direction_and_the_line_of_real_images():
    text = "step,train/loss,val/frechet,floor/frechet\n1,1,,\n9,,3.0,0.5\n"
    loss, frechet = curves(text)
    assert lines(frechet) == {"frechet, validation": (3.0,), "real images": (0.5, 0.5)}
    assert lines(loss) == {"loss, training": (1.0,)}
    assert frechet.get_ylabel() == "Frechet distance\n(lower is better)"


def test_steps_are_those_of_file_names_and_have_whole_ticks():
    (axes,) = curves("step,train/loss\n1,3.0\n6,2.0\n10,1.0\n")
    assert axes.lines[0].get_xdata().tolist() == [1, 6, 10]
    assert all(tick == round(tick) for tick in axes.get_xticks())


def test_a_zigzag_is_pale_beside_its_smoothed_line():
    rows = [f"{step},{step % 2}" for step in range(100)]
    (axes,) = curves("\n".join(["step,train/loss", *rows, ""]))
    zigzag, smooth = axes.lines
    assert zigzag.get_color() == smooth.get_color()
    assert zigzag.get_alpha() < 0.5
    assert [*zigzag.get_ydata()] == [step % 2 for step in range(100)]
    assert all(0.3 < value < 0.7 for value in smooth.get_ydata())
    assert smooth.get_label() == "loss, training"


def test_a_count_has_an_axis_from_0_with_whole_ticks():
    axes = curves("step,train/loss,val/modes,floor/modes\n1,1.5,,\n9,,10,10\n")[1]
    ticks = axes.get_yticks()
    assert axes.get_ylim()[0] == 0
    assert (ticks == ticks.round()).all()
    assert 10 in ticks
    assert len(ticks) > 3


@pytest.mark.parametrize(("last", "scale"), [(0.001, "log"), (0.5, "linear"), (-1.0, "linear")])
def test_a_loss_that_falls_over_decades_has_a_log_axis(last, scale):
    assert curves(f"step,train/loss\n0,1.0\n9,{last}\n")[0].get_yscale() == scale

"""Curves of a run: which share a panel, and what they show."""

from pathlib import Path
from typing import Any

import pytest

from figures.curves import draw_curves, panels_of


def curves(folder: Path, text: str) -> Any:
    (folder / "metrics.csv").write_text(text)
    return draw_curves(folder / "metrics.csv").axes


def lines(axes: Any) -> dict[str, tuple[float, ...]]:
    """The values of each line by its name in the legend."""
    named = (line for line in axes.lines if not line.get_label().startswith("_"))
    return {line.get_label(): tuple(line.get_ydata()) for line in named}


def test_curves_have_the_names_that_are_printed(tmp_path: Path) -> None:
    text = "step,train/d_loss,train/acc_real,val/d_loss\n1,0.5,0.9,\n3,0.25,1.0,0.3\n"
    losses, shares = curves(tmp_path, text)
    assert lines(losses) == {"d_loss, training": (0.5, 0.25), "d_loss, validation": (0.3,)}
    assert lines(shares) == {"acc_real, training": (0.9, 1.0), "undecided D": (0.5, 0.5)}
    assert all(line.get_marker() == "o" for line in losses.lines)  # a single point is visible


def test_a_score_has_a_panel_with_its_direction_and_the_line_of_real_images(tmp_path: Path) -> None:
    text = "step,train/loss,val/frechet,floor/frechet\n1,1,,\n9,,3.0,0.5\n"
    loss, frechet = curves(tmp_path, text)
    assert lines(frechet) == {"frechet, validation": (3.0,), "real images": (0.5, 0.5)}
    assert lines(loss) == {"loss, training": (1.0,)}
    assert frechet.get_ylabel() == "Frechet distance\n(lower is better)"


def test_only_what_can_be_compared_shares_a_panel() -> None:
    names = ["train/loss", "val/loss", "val/accuracy", "val/accuracy_class_0", "lr-Adam", "epoch",
             "train/examples_per_s", "val/sup_error", "val/calibration_error", "val/mine",
             "floor/mine"]  # fmt: skip
    assert panels_of(names) == {
        "loss": ["train/loss", "val/loss"],
        "accuracy": ["val/accuracy"],
        "error": ["val/sup_error"],
        "expected calibration error\n(lower is better)": ["val/calibration_error"],
        "mine": ["val/mine", "floor/mine"],
    }


def test_losses_of_any_module_are_shown() -> None:
    names = ["train_loss", "val_loss", "recon_loss_epoch", "train/loss_step"]
    assert panels_of(names) == {"loss": names}


def test_steps_are_those_of_file_names_and_have_whole_ticks(tmp_path: Path) -> None:
    (axes,) = curves(tmp_path, "step,train/loss\n1,3.0\n6,2.0\n10,1.0\n")
    assert axes.lines[0].get_xdata().tolist() == [1, 6, 10]
    assert all(tick == round(tick) for tick in axes.get_xticks())


def test_a_zigzag_is_pale_beside_its_smoothed_line(tmp_path: Path) -> None:
    rows = [f"{step},{step % 2}" for step in range(100)]
    (axes,) = curves(tmp_path, "\n".join(["step,train/loss", *rows, ""]))
    zigzag, smooth = axes.lines
    assert zigzag.get_color() == smooth.get_color()
    assert zigzag.get_alpha() < 0.5
    assert [*zigzag.get_ydata()] == [step % 2 for step in range(100)]
    assert all(0.3 < value < 0.7 for value in smooth.get_ydata())
    assert smooth.get_label() == "loss, training"


@pytest.mark.parametrize(("last", "scale"), [(0.001, "log"), (0.5, "linear"), (-1.0, "linear")])
def test_a_loss_that_falls_over_decades_has_a_log_axis(
    last: float, scale: str, tmp_path: Path
) -> None:
    assert curves(tmp_path, f"step,train/loss\n0,1.0\n9,{last}\n")[0].get_yscale() == scale

"""Curves of a run, and how often a run logs."""

from pathlib import Path
from typing import Any

import pytest
from lightning import Callback
from matplotlib.colors import to_rgba

from callbacks import LogInterval
from callbacks.curves import draw_curves, panels_of
from datamodules import Iris
from models import IrisMLP
from runtime.trainer import LadderTrainer
from tests.callbacks.runs import trainer


def lines(axes: Any) -> dict[str, tuple[float, ...]]:
    """The values of each line by its name in the legend."""
    return {line.get_label(): tuple(line.get_ydata()) for line in axes.lines}


def test_curves_have_a_line_for_each_loss_and_accuracy(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,train/d_loss,train/acc_real,val/d_loss\n1,0.5,0.9,\n3,0.25,1.0,0.3\n")
    losses, shares = draw_curves(path).axes
    training, validation = "discriminator, training", "discriminator, validation"
    assert lines(losses) == {training: (0.5, 0.25), validation: (0.3,)}
    assert lines(shares) == {
        "real images recognized, training": (0.9, 1.0),
        "undecided D": (0.5, 0.5),
    }
    assert all(line.get_marker() == "o" for line in losses.lines)  # a single point is visible
    assert losses.get_xlabel() == "step"


def test_a_score_has_a_panel_with_the_line_of_real_images(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,train/loss,val/frechet,floor/frechet\n1,1,,\n9,,3.0,0.5\n")
    loss, frechet = draw_curves(path).axes
    assert lines(frechet) == {"validation": (3.0,), "real images": (0.5, 0.5)}
    assert to_rgba(frechet.lines[1].get_color()) == to_rgba("black")
    assert lines(loss) == {"training": (1.0,)}


def test_only_what_can_be_compared_shares_a_panel() -> None:
    names = ["train/loss", "val/loss", "val/accuracy", "lr-Adam", "train/examples_per_s",
             "val/label_accuracy", "val/sup_error", "val/mine", "floor/mine"]  # fmt: skip
    assert panels_of(names) == {
        "loss": ["train/loss", "val/loss"],
        "accuracy": ["val/accuracy"],
        "error": ["val/sup_error"],
        "label accuracy": ["val/label_accuracy"],
        "mine": ["val/mine", "floor/mine"],
    }


def test_classes_have_no_curves_and_the_calibration_error_has_its_name() -> None:
    names = ["val/accuracy", "val/accuracy_class_0", "val/accuracy/cat", "val/calibration_error"]
    assert panels_of(names) == {
        "accuracy": ["val/accuracy"],
        "expected calibration error": ["val/calibration_error"],
    }


def test_steps_are_those_of_file_names_and_have_whole_ticks(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,train/loss,val/loss\n0,3.0,\n5,2.0,\n9,1.0,1.5\n")
    (axes,) = draw_curves(path).axes
    training, validation = axes.lines
    assert training.get_xdata().tolist() == [1, 6, 10]
    assert axes.get_xlim() == pytest.approx((0, 10.3))
    assert all(tick == round(tick) for tick in axes.get_xticks())
    assert validation.get_linewidth() < training.get_linewidth()
    assert validation.get_zorder() < training.get_zorder()


@pytest.mark.parametrize(("last", "scale"), [(0.001, "log"), (0.5, "linear"), (-1.0, "linear")])
def test_a_loss_that_falls_over_decades_has_a_log_axis(
    last: float, scale: str, tmp_path: Path
) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(f"step,train/loss\n0,1.0\n9,{last}\n")
    assert draw_curves(path).axes[0].get_yscale() == scale


@pytest.mark.parametrize(("modes", "drawn"), [((10, 10), False), ((9, 10), True), ((9, 9), True)])
def test_modes_are_drawn_unless_all_are_there_from_the_start(
    modes: tuple[int, int], drawn: bool, tmp_path: Path
) -> None:
    path = tmp_path / "metrics.csv"
    text = "step,train/loss,val/modes,floor/modes\n0,1,{},10\n4,1,,\n9,1,{},10\n"
    path.write_text(text.format(*modes))
    labels = [axes.get_ylabel() for axes in draw_curves(path).axes]
    assert labels == ["loss", *["modes"] * drawn]


@pytest.mark.parametrize(("scores", "shape"), [(0, (1, 1)), (2, (1, 3)), (3, (2, 2)), (5, (2, 3))])
def test_panels_fill_a_slide(scores: int, shape: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    names = ["train/loss", *(f"val/s{k},floor/s{k}" for k in range(scores))]
    path.write_text(
        f"step,{','.join(names)}\n0{',1' * (1 + 2 * scores)}\n3{',2' * (1 + 2 * scores)}\n"
    )
    figure = draw_curves(path)
    assert figure.axes[0].get_gridspec().get_geometry() == shape
    width, height = figure.get_size_inches()
    assert width > height


@pytest.mark.parametrize(
    ("options", "every"),
    [
        ({"max_epochs": 1}, 1),  # 7 steps
        ({"max_steps": 100, "max_epochs": -1}, 2),
        ({"max_epochs": 400}, 50),  # 2,800 steps
        ({"max_epochs": 400, "log_every_n_steps": 7}, 7),
        ({"max_epochs": -1, "max_time": "00:00:00:01"}, 50),
    ],
)
def test_a_run_logs_at_least_fifty_points(
    options: dict[str, Any], every: int, tmp_path: Path
) -> None:
    class StopError(Exception):
        """Ends the run after its first batch."""

    class Stop(Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            raise StopError(trainer.log_every_n_steps)

    options = {"log_every_n_steps": None, **options}
    run = trainer(tmp_path, LogInterval(), Stop(), kind=LadderTrainer, **options)
    with pytest.raises(StopError) as stopped:
        run.fit(IrisMLP(), Iris())
    assert stopped.value.args == (every,)

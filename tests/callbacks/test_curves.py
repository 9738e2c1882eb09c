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
        "real images taken for real, training": (0.9, 1.0),
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

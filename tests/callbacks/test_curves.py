"""The interval of a run's logs, its speed, and which curves share a panel."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from lightning import Callback

from callbacks import Figures, StepMonitor
from callbacks.figures import panels_of
from callbacks.monitor import count_examples
from datamodules import Iris
from models import IrisMLP
from runtime.loggers import RunCSVLogger
from runtime.trainer import LadderTrainer
from tests.callbacks.runs import Small, digits, pictures, trainer


class StopError(Exception):
    """Ends a run after its first batch."""


class Stop(Callback):
    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        raise StopError(trainer.log_every_n_steps)


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
    options = {"log_every_n_steps": None, **options}
    run = trainer(tmp_path, StepMonitor(), Stop(), kind=LadderTrainer, **options)
    with pytest.raises(StopError) as stopped:
        run.fit(IrisMLP(), Iris())
    assert stopped.value.args == (every,)


def test_a_run_logs_examples_per_second_and_draws_its_curves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr("callbacks.monitor.time.perf_counter", lambda: next(clock))
    options = {"max_steps": 4, "log_every_n_steps": 2, "limit_val_batches": 0}
    (tmp_path / "run").mkdir()
    logger = RunCSVLogger(tmp_path / "run")
    run = trainer(tmp_path, StepMonitor(), Figures(), logger=logger, **options)
    run.fit(Small(), datamodule=digits())
    speeds = pd.read_csv(tmp_path / "run" / "metrics.csv")["train/examples_per_s"].dropna()
    assert speeds.tolist() == [64, 64]  # a batch a second
    assert pictures(tmp_path) == {"curves.png", "data_examples.png", "network.png"}


@pytest.mark.parametrize(
    ("batch", "count"),
    [
        (torch.zeros(3, 2), 3),
        ([torch.zeros(4, 2), torch.zeros(4)], 4),
        ({"name": ["a", "b"], "x": torch.zeros(2, 5)}, 2),
        (["a", 1], 0),
    ],
)
def test_the_examples_of_any_batch_are_counted(batch: Any, count: int) -> None:
    assert count_examples(batch) == count


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

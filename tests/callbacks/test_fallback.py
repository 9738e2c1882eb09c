"""A run on the small digits in place of MNIST is shorter; every other run is as long as it says."""

from pathlib import Path
from typing import Any

import pytest

from callbacks import FallbackSteps
from datamodules import Images
from tests.callbacks.runs import trainer
from tests.models.gans import small


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # without a folder `data`
    monkeypatch.setattr("datamodules.images.download", lambda *_: "offline")


def steps_of(folder: Path, dataset: Any, max_steps: int) -> int:
    """Counts the steps of a run with at most 3 on the small digits."""
    data = Images(dataset, batch_size=16)
    limits = {"max_epochs": -1, "max_steps": max_steps, "limit_val_batches": 0}
    run = trainer(folder, FallbackSteps(3), **limits)
    run.fit(small(schedule="linear"), datamodule=data)
    rate = 1e-3 * (1 - run.global_step / max_steps)  # the schedule is that of the whole run
    assert run.optimizers[0].param_groups[0]["lr"] == pytest.approx(rate)
    return int(run.global_step)


@pytest.mark.filterwarnings("ignore:MNIST WAS NOT FOUND")
@pytest.mark.parametrize(("wanted", "steps"), [(5, 3), (2, 2)])
def test_a_run_that_falls_back_is_shorter(wanted: int, steps: int, tmp_path: Path) -> None:
    assert steps_of(tmp_path, "auto", wanted) == steps


def test_a_run_that_asks_for_the_small_digits_is_not(tmp_path: Path) -> None:
    assert steps_of(tmp_path, "digits", 5) == 5

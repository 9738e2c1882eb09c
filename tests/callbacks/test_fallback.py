"""A run on the small digits in place of MNIST is shorter; every other run is as long as it says."""

from pathlib import Path
from typing import Any

import pytest

from callbacks import FallbackSteps
from datamodules import Images
from tests.callbacks.runs import trainer
from tests.models.gans import small


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datamodules.images.download", lambda *_: "offline")


def steps_of(folder: Path, dataset: Any, **options: Any) -> int:
    """Counts the steps of a run with at most 3 on the small digits."""
    data = Images(dataset, str(folder / "data"), batch_size=16)
    run = trainer(folder, FallbackSteps(3), limit_val_batches=0, **options)
    run.fit(small(schedule="linear"), datamodule=data)
    assert run.optimizers[0].param_groups[0]["lr"] == pytest.approx(0)  # the schedule ended too
    return int(run.global_step)


@pytest.mark.filterwarnings("ignore:MNIST WAS NOT FOUND")
@pytest.mark.parametrize(("options", "steps"), [({"max_steps": 5}, 3), ({"max_steps": 2}, 2)])
def test_a_run_that_falls_back_is_shorter(
    options: dict[str, int], steps: int, tmp_path: Path
) -> None:
    assert steps_of(tmp_path, "auto", max_epochs=-1, **options) == steps


def test_a_run_that_asks_for_the_small_digits_is_not(tmp_path: Path) -> None:
    assert steps_of(tmp_path, "digits", max_epochs=-1, max_steps=5) == 5

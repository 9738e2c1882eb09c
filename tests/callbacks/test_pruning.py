"""A run of a search is stopped if others were better at the same point."""

from pathlib import Path
from typing import Any

import pytest
import torch

from runtime.study import PRUNED, file_in, open_study
from tests.test_cli import run

pytestmark = pytest.mark.filterwarnings("ignore:This property will be removed")  # torchmetrics'
FIT = [
    "fit", "--config=configs/iris.yaml", "--trainer.max_epochs=4", "--data.val_fraction=0.2",
    "--checkpoint.min_steps=0",
]  # fmt: skip


def fit(tmp_path: Path, monitor: str, *others: str) -> int:
    """Trains four epochs of three steps in `tmp_path/run`, as trial 6; returns the last step."""
    callback = {
        "class_path": "callbacks.Pruning",
        "init_args": {"study": str(file_in(tmp_path)), "trial": 6, "monitor": monitor},
    }
    place = [f"--trainer.default_root_dir={tmp_path}", "--experiment=run"]
    run(*FIT, f"--trainer.callbacks+={callback}".replace("'", '"'), *place, *others)
    last = max((tmp_path / "run").glob("*/checkpoints/last.ckpt"))
    return torch.load(last, weights_only=True)["global_step"]


def study_with(tmp_path: Path, loss: float) -> Any:
    """Makes a study with six trials that reported this loss four times, and a running one."""
    study = open_study(file_in(tmp_path), direction="minimize")
    for _ in range(6):
        trial = study.ask()
        for step in range(4):
            trial.report(loss, step)
        study.tell(trial, loss)
    study.ask()
    return study


@pytest.mark.extras
@pytest.mark.parametrize("monitor", ["val/loss", "train/loss"])
def test_a_run_that_is_worse_than_the_median_stops(
    monitor: str, tmp_path: Path, in_root: Path
) -> None:
    study = study_with(tmp_path, 0.001)
    assert fit(tmp_path, monitor, "--trainer.log_every_n_steps=1") == 3
    trial = study.trials[6]
    assert list(trial.intermediate_values) == [0]
    assert trial.user_attrs == {PRUNED: 3}


@pytest.mark.extras
def test_a_run_that_is_better_ends_with_all_reports(tmp_path: Path, in_root: Path) -> None:
    study = study_with(tmp_path, 1000.0)
    assert fit(tmp_path, "val/loss") == 12
    assert list(study.trials[6].intermediate_values) == [0, 1, 2, 3]
    assert study.trials[6].user_attrs == {}


@pytest.mark.extras
def test_a_resumed_run_counts_on(tmp_path: Path, in_root: Path) -> None:
    study = study_with(tmp_path, 1000.0)
    fit(tmp_path, "val/loss", "--trainer.max_epochs=2")
    assert list(study.trials[6].intermediate_values) == [0, 1]
    assert fit(tmp_path, "val/loss", f"--ckpt_path={tmp_path / 'run'}") == 12
    assert list(study.trials[6].intermediate_values) == [0, 1, 2, 3]


@pytest.mark.extras
def test_a_trial_that_has_ended_is_trained_to_its_end(tmp_path: Path, in_root: Path) -> None:
    """As with the config of a run of a search."""
    study = study_with(tmp_path, 0.001)
    study.tell(6, 0.5)
    assert fit(tmp_path, "val/loss") == 12


def test_a_run_without_its_study_is_trained_to_its_end(tmp_path: Path, in_root: Path) -> None:
    with pytest.warns(UserWarning, match="There is no study .*study.db, so this run is not pruned"):
        assert fit(tmp_path, "val/loss") == 12

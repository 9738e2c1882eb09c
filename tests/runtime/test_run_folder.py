"""A run's folder and the logs in it."""

import csv
import warnings
from pathlib import Path
from typing import Any

import pytest
from lightning import Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from datamodules import Iris
from models import IrisMLP
from runtime.checkpoints import EpochCheckpoint
from runtime.run_folder import AppendingCSVLogger, RunFolder, run_folder_of


def version(runs: Path) -> str:
    return RunFolder(runs, "gan")._version()


def test_versions_count_on_and_leave_other_folders_alone(tmp_path: Path) -> None:
    assert version(tmp_path) == "version_0"
    for name in ("version_0", "version_9", "version_x", "job_12"):
        (tmp_path / "gan" / name).mkdir(parents=True)
    assert version(tmp_path) == "version_10"


def test_a_cluster_job_keeps_its_folder_over_a_requeue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    assert version(tmp_path) == "job_12"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "10")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert version(tmp_path) == "job_10_3"


def test_a_checkpoint_belongs_to_the_run_around_its_folder(tmp_path: Path) -> None:
    assert run_folder_of(tmp_path / "version_0/checkpoints/last.ckpt") == tmp_path / "version_0"
    assert run_folder_of(tmp_path / "somewhere" / "last.ckpt") is None


def test_metrics_go_on_where_they_were(tmp_path: Path) -> None:
    for step, metrics in enumerate([{"a": 1.0}, {"b": 2.0}, {"a": 3.0}]):  # each a new process
        logger = AppendingCSVLogger(tmp_path, name="", version="version_0")
        logger.log_metrics(metrics, step)
        logger.save()
    with (tmp_path / "version_0" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["0", "1", "2"]
    assert [row["a"] for row in rows] == ["1.0", "", "3.0"]
    assert [row["b"] for row in rows] == ["", "2.0", ""]


def test_continued_metrics_warn_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "version_0").mkdir()
    (tmp_path / "version_0" / "config.yaml").touch()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Lightning's logger would warn that it deletes files
        AppendingCSVLogger(tmp_path, name="", version="version_0").experiment.save()


class Remote(Logger):
    """A logger that stores nothing on this machine."""

    name, version = "remote", 7

    def __init__(self) -> None:
        super().__init__()
        self.metrics: dict[str, float] = {}

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None: ...

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.metrics |= metrics


def fit(tmp_path: Path, logger: Any, folder: RunFolder) -> Trainer:
    trainer = Trainer(
        max_epochs=1, limit_train_batches=2, log_every_n_steps=1, limit_val_batches=1,
        accelerator="cpu", logger=logger, callbacks=[folder, EpochCheckpoint()],
        default_root_dir=tmp_path / "elsewhere", enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(IrisMLP(), datamodule=Iris(batch_size=4, val_fraction=0.2))
    return trainer


@pytest.mark.parametrize("several", [False, True])
def test_loggers_are_added_to_the_runs_own(several: bool, tmp_path: Path) -> None:
    remote, other = Remote(), CSVLogger(tmp_path / "other", name="", version="mine")
    given = [other, remote] if several else remote
    trainer = fit(tmp_path, given, RunFolder(tmp_path, "iris"))
    folder = tmp_path / "iris" / "version_0"
    assert trainer.log_dir == str(folder)
    assert [type(logger) for logger in trainer.loggers] == [
        TensorBoardLogger, AppendingCSVLogger, *([CSVLogger] if several else []), Remote
    ]  # fmt: skip
    assert "train/loss" in remote.metrics
    assert list(folder.glob("events.out.tfevents.*"))
    names = {"metrics.csv", "checkpoints"}
    assert names <= {path.name for path in folder.iterdir()}
    assert (folder / "checkpoints" / "last.ckpt").exists()
    assert (tmp_path / "other" / "mine" / "metrics.csv").exists() == several
    assert not (tmp_path / "elsewhere").exists()


def test_a_second_stage_replaces_the_runs_loggers_and_no_other(tmp_path: Path) -> None:
    remote = Remote()
    trainer = fit(tmp_path, remote, RunFolder(tmp_path, "iris"))
    trainer.validate(IrisMLP(), datamodule=Iris(val_fraction=0.2), verbose=False)
    assert len(trainer.loggers) == 3
    assert trainer.loggers[2] is remote

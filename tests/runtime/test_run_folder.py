"""Where a run's files go."""

import csv
from pathlib import Path

import pytest

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

"""A run's folder, its lock and its loggers."""

import csv
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lightning import Trainer
from lightning.pytorch.loggers import CSVLogger, Logger

from callbacks import EpochCheckpoint
from datamodules import Iris
from models import IrisMLP
from runtime.checkpoints import run_folder_of
from runtime.errors import UserError
from runtime.loggers import RunCSVLogger, RunTensorBoardLogger
from runtime.run_folder import RunFolder
from tests.test_cli import fails, run


def version(runs: Path) -> str:
    return RunFolder(runs, "gan")._version()


def test_versions_count_on_and_leave_other_folders_alone(tmp_path):
    assert version(tmp_path) == "version_0"
    for name in ("version_0", "version_9", "version_x", "job_12"):
        (tmp_path / "gan" / name).mkdir(parents=True)
    assert version(tmp_path) == "version_10"


def test_a_checkpoint_belongs_to_the_run_around_its_folder(tmp_path):
    assert run_folder_of(tmp_path / "version_0/checkpoints/last.ckpt") == tmp_path / "version_0"
    assert run_folder_of(tmp_path / "somewhere" / "last.ckpt") is None


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


def test_loggers_are_added_to_the_runs_own(tmp_path):
    remote, other = Remote(), CSVLogger(tmp_path / "other", name="", version="mine")
    trainer = fit(tmp_path, [other, remote], RunFolder(tmp_path, "iris"))
    folder = tmp_path / "iris" / "version_0"
    assert trainer.log_dir == str(folder)
    assert [type(logger) for logger in trainer.loggers] == [
        RunCSVLogger, RunTensorBoardLogger, CSVLogger, Remote
    ]  # fmt: skip
    assert "train/loss" in remote.metrics
    assert list(folder.glob("events.out.tfevents.*"))
    names = {"metrics.csv", "checkpoints"}
    assert names <= {path.name for path in folder.iterdir()}
    assert (folder / "checkpoints" / "last.ckpt").exists()
    assert (tmp_path / "other" / "mine" / "metrics.csv").exists()
    assert not (tmp_path / "elsewhere").exists()


def test_a_run_forgets_the_steps_that_it_repeats(tmp_path):
    class Killed(RunFolder):
        def setup(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
            super().setup(trainer, *args, **kwargs)
            for step in (0, 7):  # of which the second was lost
                self.loggers[0].log_metrics({"before": 1.0}, step)
            self.loggers[0].save()

    fit(tmp_path, False, Killed(tmp_path, "iris"))
    rows = [*csv.DictReader((tmp_path / "iris" / "version_0" / "metrics.csv").open())]
    assert [row["step"] for row in rows if row["before"]] == ["0"]


def test_a_second_stage_replaces_the_runs_loggers_and_no_other(tmp_path):
    remote = Remote()
    trainer = fit(tmp_path, remote, RunFolder(tmp_path, "iris"))
    trainer.validate(IrisMLP(), datamodule=Iris(val_fraction=0.2), verbose=False)
    assert [type(logger) for logger in trainer.loggers] == [RunCSVLogger, Remote]
    assert trainer.loggers[1] is remote


def test_two_runs_that_start_at_once_get_two_folders(tmp_path, monkeypatch):
    def create_twice(self: RunFolder) -> str:
        """The other run creates its folder after this one has counted, and before it creates."""
        monkeypatch.undo()
        name = self._version()
        (tmp_path / "gan" / name).mkdir()
        return name

    (tmp_path / "gan").mkdir()
    monkeypatch.setattr(RunFolder, "_version", create_twice)
    assert RunFolder(tmp_path, "gan")._create() == tmp_path / "gan" / "version_1"


def test_a_folder_that_cannot_be_created_is_one_line(capsys):
    line = fails(capsys, "fit", "--config=configs/iris.yaml", "--trainer.default_root_dir=/proc/x")
    assert line.startswith("error: the run's folder in /proc/x/iris cannot be created (")
    assert line.endswith("set --trainer.default_root_dir")


def test_a_run_without_pictures_draws_none(tmp_path, in_root):
    options = ["--trainer.max_steps=2", "--trainer.log_every_n_steps=1"]
    place = f"--trainer.default_root_dir={tmp_path}"
    run("fit", "--config=configs/iris.yaml", *options, place, "--trainer.pictures=false")
    assert (tmp_path / "iris" / "version_0" / "metrics.csv").is_file()
    assert not [*tmp_path.rglob("figures")]


def test_a_run_is_not_trained_twice_at_once(tmp_path):
    first, second = (RunFolder(tmp_path, "gan", tmp_path / "gan" / "version_0") for _ in range(2))
    folder = first._open("fit")
    with pytest.raises(UserError, match="version_0 is being trained by another process"):
        second._open("fit")
    first.teardown(None, None, "fit")
    assert second._open("fit") == folder


def test_a_kill_in_the_first_save_leaves_nothing_for_ever(tmp_path):
    """Nobody continues such a run. Another run may be writing the younger file."""
    old, young = (tmp_path / f"gan/version_{n}/checkpoints/.a.partial.ckpt" for n in range(2))
    for path in (old, young):
        path.parent.mkdir(parents=True)
        path.touch()
    os.utime(old, (0, 0))
    RunFolder(tmp_path, "gan")._open("fit")
    assert not old.exists()
    assert young.exists()


def test_a_failure_on_rank_zero_is_one_on_all_ranks(tmp_path):
    strategy = SimpleNamespace(broadcast=lambda value: (tmp_path, "no such folder"))
    trainer: Any = SimpleNamespace(is_global_zero=False, strategy=strategy, loggers=[])
    with pytest.raises(UserError, match="no such folder"):
        RunFolder(tmp_path, "iris").setup(trainer, None, "fit")


def test_a_run_that_cannot_begin_leaves_nothing(tmp_path):
    class Broken(IrisMLP):
        def on_fit_start(self) -> None:
            raise ZeroDivisionError

    folder = RunFolder(tmp_path / "runs", "iris")
    trainer = Trainer(callbacks=[folder], logger=False, accelerator="cpu", max_epochs=1)
    with pytest.raises(ZeroDivisionError):
        trainer.fit(Broken(), Iris())
    assert not list(tmp_path.iterdir())

"""A run's loggers: metrics.csv after a crash, a logger beside it."""

import csv
import os
import shutil
import warnings
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from runtime.loggers import RunCSVLogger, RunTensorBoardLogger
from tests.test_cli import fails, run

GATES = ["--config=configs/gates.yaml", "--trainer.max_epochs=1", "--trainer.accelerator=cpu"]


def logger(folder: Path) -> RunCSVLogger:
    (folder / "run").mkdir(exist_ok=True)
    return RunCSVLogger(folder / "run")


def log(folder: Path, step: int, **metrics: float) -> None:
    own = logger(folder)
    own.log_metrics(metrics, step)
    own.save()


def test_metrics_go_on_where_they_were(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Lightning's logger would warn that it deletes files
        for step, metrics in enumerate([{"a": 1.0}, {"b": 2.0}, {"a": 3.0}]):  # new processes
            log(tmp_path, step, **metrics)
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["0", "1", "2"]
    assert [row["a"] for row in rows] == ["1.0", "", "3.0"]
    assert [row["b"] for row in rows] == ["", "2.0", ""]


@pytest.mark.parametrize("half", ["0", "1", "1.", "11,", "1.0,1", "1.0,1,2.0"])
def test_half_a_row_is_dropped(tmp_path, half):
    log(tmp_path, 0, a=1.0, z=2.0)
    path = tmp_path / "run" / "metrics.csv"
    whole = path.read_text()
    path.write_text(whole + half)
    with pytest.warns(UserWarning, match=r"metrics\.csv: 1 damaged row"):
        logger(tmp_path).forget_after(0)
    log(tmp_path, 1, a=3.0, z=4.0)
    assert path.read_text() == f"{whole}3.0,1,4.0\n"


@pytest.mark.parametrize("removed", ["metrics.csv", "."])
def test_a_log_that_is_removed_meanwhile_begins_anew_with_a_word(removed, tmp_path):
    own = logger(tmp_path)
    own.log_metrics({"a": 1.0}, 0)
    own.save()
    gone = tmp_path / "run" / removed
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    own.log_metrics({"a": 2.0}, 1)
    with pytest.warns(UserWarning, match=r"metrics\.csv was removed while its run trains"):
        own.save()
    assert (tmp_path / "run" / "metrics.csv").read_text() == "a,step\n2.0,1\n"


def test_half_a_header_is_dropped(tmp_path):
    path = tmp_path / "run" / "metrics.csv"
    path.parent.mkdir()
    path.write_text("a,st")
    log(tmp_path, 0, a=1.0)
    assert path.read_text() == "a,step\n1.0,0\n"


def test_a_kill_while_a_column_is_added_loses_no_row(tmp_path, monkeypatch):
    log(tmp_path, 0, a=1.0)
    path = tmp_path / "run" / "metrics.csv"
    whole = path.read_text()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("csv.DictWriter.writeheader", killed)
    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        log(tmp_path, 1, a=1.0, b=2.0)
    assert path.read_text() == whole


def test_steps_that_are_repeated_are_forgotten(tmp_path):
    for step in range(5):
        log(tmp_path, step, a=float(step))
    logger(tmp_path).forget_after(2)
    log(tmp_path, 3, a=9.0)
    rows = (tmp_path / "run" / "metrics.csv").read_text().split()
    assert rows == ["a,step", "0.0,0", "1.0,1", "2.0,2", "9.0,3"]


@pytest.mark.parametrize(
    "broken",
    [
        b"a,b\n1,2\n",
        b"\x89PNG\r\n\x1a\n\0\xff\xfe\n",
        "gr\xfc\xdfe,step\n1.0,1\n".encode("latin-1"),
        b"a,step\n1.0,x\n",
        b'a,step\n"' + b"9" * 200_000 + b'",1\n',
    ],
    ids=["no step", "binary", "latin-1", "no number", "long"],
)
def test_a_broken_log_is_set_aside(broken, tmp_path):
    for number in range(2):
        own = logger(tmp_path)
        own.path.write_bytes(broken)
        with pytest.warns(UserWarning, match=r"metrics.csv is .* is \S+broken\d?.csv now"):
            own.forget_after(number)
        log(tmp_path, number, a=1.0)
        assert own.path.read_text() == f"a,step\n1.0,{number}\n"
    aside = [*own.path.parent.glob("metrics.broken*.csv")]
    assert [path.read_bytes() for path in aside] == [broken, broken]


@pytest.mark.extras
def test_wandb_logs_offline_beside_the_run(tmp_path, in_root):
    import wandb

    place = [f"--trainer.default_root_dir={tmp_path}", f"--trainer.logger.save_dir={tmp_path}"]
    run("fit", *GATES, "--config=configs/logger/wandb.yaml", *place)
    wandb.finish()
    wandb.teardown()  # ends the process that writes its files
    (part,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    assert b"train/loss" in part.read_bytes()
    assert (tmp_path / "gates" / "version_0" / "metrics.csv").is_file()


def test_a_missing_package_is_named_before_anything_is_written(tmp_path, capsys, in_root):
    root = f"--trainer.default_root_dir={tmp_path}"
    line = fails(capsys, "fit", *GATES, "--trainer.logger=CometLogger", root)
    assert line.startswith("error: CometLogger: Requirement 'comet-ml")
    assert not list(tmp_path.iterdir())


def test_tensorboard_gets_the_numbers(tmp_path):
    own = RunTensorBoardLogger(tmp_path / "run")
    own.log_metrics({"loss": 0.5}, 3)
    own.save()
    events = EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(3, 0.5)]

"""metrics.csv after a crash."""

import os
from pathlib import Path

import pytest
from runtime.run_logs import AppendingCSVLogger

from runtime.files import write


def logger(folder: Path) -> AppendingCSVLogger:
    return AppendingCSVLogger(folder, name="", version="run")


def log(folder: Path, step: int, **metrics: float) -> None:
    own = logger(folder)
    own.log_metrics(metrics, step)
    own.save()


@pytest.mark.parametrize("half", ["0", "1", "1.", "11,", "1.0,1", "1.0,1,2.0"])
def test_half_a_row_is_dropped(tmp_path: Path, half: str) -> None:
    log(tmp_path, 0, a=1.0, z=2.0)
    path = tmp_path / "run" / "metrics.csv"
    whole = path.read_text()
    path.write_text(whole + half)
    logger(tmp_path).forget_from(1)
    log(tmp_path, 1, a=3.0, z=4.0)
    assert path.read_text() == f"{whole}3.0,1,4.0\n"


def test_half_a_header_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "run" / "metrics.csv"
    path.parent.mkdir()
    path.write_text("a,st")
    log(tmp_path, 0, a=1.0)
    assert path.read_text() == "a,step\n1.0,0\n"


def test_a_kill_while_a_column_is_added_loses_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_an_error_of_the_disk_names_the_file(tmp_path: Path) -> None:
    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left on device") as caught:
        write(tmp_path / "x.csv", full)
    assert caught.value.filename == str(tmp_path / "x.csv")

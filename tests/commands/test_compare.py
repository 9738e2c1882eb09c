"""`compare` puts runs side by side."""

import json
from pathlib import Path

import pandas as pd
import pytest

from runtime.files import read_json
from tests.test_cli import fails, run


def results(folder: Path, frechet: float) -> Path:
    folder.mkdir()
    found = {"scores": {"frechet": frechet, "recall": None}, "floor": {"frechet": 0.1}}
    (folder / "metrics.json").write_text(json.dumps({"test": found}))
    return folder


def test_runs_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [str(results(tmp_path / name, value)) for name, value in {"a": 0.5, "b": 2.0}.items()]
    run("compare", *runs, "--out", str(tmp_path / "out"))
    assert "frechet" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "out" / "comparison.csv", index_col="run")
    assert table["frechet"].tolist() == [0.5, 2.0]
    assert table["frechet (floor)"].tolist() == [0.1, 0.1]
    assert table["recall"].isna().all()
    assert (tmp_path / "out" / "comparison.png").is_file()


def test_a_run_without_results_is_told_how_to_get_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = fails(capsys, "compare", str(tmp_path))
    assert f"run `python cli.py test --ckpt_path {tmp_path}`" in line


def test_an_unwritable_folder_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = results(tmp_path / "a", 1.0)
    assert "cannot be written to" in fails(capsys, "compare", str(folder), "--out", "/proc/x")


def test_a_damaged_file_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text("{")
    assert read_json(tmp_path / "metrics.json") == {}

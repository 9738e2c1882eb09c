"""Files are written whole or not at all."""

import os
from pathlib import Path
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure

from runtime import files


def test_the_content_is_on_disk_before_the_file_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bytes, bool]] = []
    path = tmp_path / "a.txt"

    def fsync(descriptor: int) -> None:
        seen.append((os.pread(descriptor, 9, 0), path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    files.write(path, lambda partial: partial.write_text("content"))
    assert seen == [(b"content", False)]
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_numbers_that_are_not_finite_become_null(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"a": [float("nan"), 1.0], 2: float("-inf")})
    assert files.read_json(tmp_path / "a.json") == {"a": [None, 1.0], "2": None}


def test_what_is_no_json_is_empty(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    assert files.read_json(tmp_path / "a.json") == files.read_json(tmp_path / "b.json") == {}


def test_a_figure_of_lines_is_also_an_svg_whose_text_stays_text(tmp_path: Path) -> None:
    figure = Figure()
    figure.subplots().set(xlabel="petal length in cm")
    for name in ("a.png", "b.png"):
        files.write_figure(tmp_path / name, figure, vector=True)
    text = (tmp_path / "a.svg").read_text()
    words = [element.text for element in ElementTree.fromstring(text).iter() if element.text]
    assert "petal length in cm" in words
    assert "<dc:date>" not in text
    files.write_figure(tmp_path / "c.png", figure)
    assert len([*tmp_path.glob("*.png")]) == 3
    assert len([*tmp_path.glob("*.svg")]) == 2

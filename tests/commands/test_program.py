"""Command lines that the program prints work when they are pasted."""

import subprocess
import sys
from pathlib import Path

import pytest

from commands import program


@pytest.fixture
def interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment's interpreter, which runs, in a folder with a space."""
    path = tmp_path / "my env/bin/python"
    path.parent.mkdir(parents=True)
    path.symlink_to(sys.executable)
    monkeypatch.setattr("sys.executable", str(path))
    monkeypatch.setattr("sys.argv", ["cli.py", "fit"])
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    return path


def pasted(line: str, folder: Path) -> str:
    """Returns what a shell in this folder prints for the line."""
    return subprocess.run(line, cwd=folder, shell=True, capture_output=True, text=True).stdout


def test_an_interpreter_outside_the_path_is_named_by_its_file(
    interpreter: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for folder in (tmp_path, Path("/")):
        monkeypatch.chdir(folder)
        (tmp_path / "cli.py").write_text("print('started')")
        assert pasted(f"{program.python()} -c 'print(3)'", folder) == "3\n"
    monkeypatch.chdir(tmp_path)
    assert program.cli() == "'my env/bin/python' cli.py"
    assert pasted(program.cli(), tmp_path) == "started\n"
    assert program.tensorboard() == "'my env/bin/python' -m tensorboard.main"


def test_in_an_active_environment_names_are_enough(
    interpreter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensorboard = interpreter.with_name("tensorboard")
    tensorboard.write_text("#!/bin/sh\n")
    tensorboard.chmod(0o755)
    monkeypatch.setenv("PATH", f"{interpreter.parent}:/usr/bin")
    assert program.cli() == "python cli.py"
    assert program.tensorboard() == "tensorboard"


def test_the_script_is_named_as_it_was_typed(
    interpreter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{interpreter.parent}:/usr/bin")
    monkeypatch.setattr("sys.argv", ["../the lecture/cli.py", "fit"])
    assert program.cli() == "python '../the lecture/cli.py'"
    monkeypatch.setattr("sys.argv", ["/x/ipykernel_launcher.py"])
    assert program.cli() == "python cli.py"


def test_each_name_comes_from_the_running_environment(
    interpreter: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The interpreters of all environments are links to one, so files say nothing."""
    other = tmp_path / "other/bin/python"
    other.parent.mkdir(parents=True)
    other.symlink_to(interpreter.resolve())
    monkeypatch.setenv("PATH", f"{other.parent}:/usr/bin")
    monkeypatch.chdir(tmp_path)
    assert program.python() == "'my env/bin/python'"

"""The lecture's notebook: clean in git, short cells, and it runs from top to bottom."""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import ROOT

FOLDER = ROOT / "notebooks"
NAMES = ("lecture.ipynb", "after_the_gan.ipynb")
NOTEBOOK = FOLDER / "lecture.ipynb"
HOOKS = ROOT / ".githooks"
LANDMARKS = ("640", "387", "1,027", "138,357,544")  # parameters, as on the slides
IMAGES = 24  # figures that the notebook shows
RUNS = 11  # trainings
CPU_SECONDS = 240
TOP = ("callbacks", "commands", "figures", "configs", "datamodules", "metrics", "models", "pages",
       "results", "runtime")  # fmt: skip


def read(text: str) -> Any:
    return nbformat.reads(text, as_version=nbformat.NO_CONVERT)


def code_of(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def is_clean(notebook: Any) -> bool:
    return all(cell.outputs == [] and not cell.execution_count for cell in code_of(notebook))


@pytest.mark.parametrize("name", [*NAMES, "exercises.ipynb", "solutions.ipynb"])
def test_it_is_valid_and_has_no_outputs(name):
    notebook = read((FOLDER / name).read_text())
    nbformat.validate(notebook)
    assert is_clean(notebook)
    ids = [cell["id"] for cell in notebook.cells]
    assert len({*ids}) == len(ids) > 25
    assert set(notebook.metadata) == {"kernelspec", "language_info"}


@pytest.mark.parametrize("name", NAMES)
def test_it_names_no_path_of_a_machine_and_only_files_of_the_project(name):
    text = (FOLDER / name).read_text()
    assert re.findall(r"""["'( ](?:/|~/|[A-Z]:\\)[a-z]""", text) == []
    files = re.findall(r"configs/[\w/]+\.yaml|docs/[\w-]+\.md", text)
    assert len({*files}) > 5
    assert [file for file in files if not (ROOT / file).is_file()] == []


def execute(name: str, folder: Path) -> tuple[Any, float]:
    """Runs a copy in a copy of the project; returns the notebook and its CPU seconds."""
    for room in TOP:
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (*ROOT.glob("*.py"), ROOT / "pyproject.toml"):
        shutil.copy(file, folder)
    (folder / "notebooks").mkdir()
    for file in FOLDER.glob("*.py"):
        shutil.copy(file, folder / "notebooks")
    notebook = read((FOLDER / name).read_text())
    place = {"metadata": {"path": str(folder / "notebooks")}}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources=place)
    client.execute(env=environment)
    (ROOT / "build").mkdir(exist_ok=True)
    nbformat.write(notebook, ROOT / "build" / name)  # `make docs` shows the lecture's
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return notebook, sum(after[:2]) - sum(before[:2])


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The folder of the lecture's notebook, the notebook, and its CPU seconds."""
    folder = tmp_path_factory.mktemp("project")
    yield folder, *execute("lecture.ipynb", folder)
    shutil.rmtree(folder)


def outputs_of(notebook: Any, kind: str) -> list[Any]:
    return [out for cell in code_of(notebook) for out in cell.outputs if out.output_type == kind]


def count_pictures(notebook: Any) -> int:
    kinds = ("execute_result", "display_data")
    shown = [out for kind in kinds for out in outputs_of(notebook, kind)]
    return sum("image/png" in out.data for out in shown)


def text_of(notebook: Any) -> str:
    streams = [out.text for out in outputs_of(notebook, "stream")]
    results = [out.data.get("text/plain", "") for out in outputs_of(notebook, "execute_result")]
    return "\n".join(streams + results)


@pytest.mark.slow
def test_it_runs_from_top_to_bottom(executed):
    folder, notebook, seconds = executed
    assert [out.text for out in outputs_of(notebook, "stream") if out.name == "stderr"] == []
    text = text_of(notebook)
    assert "\r" not in text
    assert len(re.findall(r"^Step .+ \(100%\)", text, flags=re.MULTILINE)) == RUNS
    assert [number for number in LANDMARKS if not re.search(rf"\b{number}\b", text)] == []
    assert count_pictures(notebook) == IMAGES
    assert [path for path in folder.rglob("lightning_logs")] == []
    assert len([*folder.glob("runs/*/version_*")]) == RUNS
    print(f"{seconds:.0f} CPU-seconds")
    assert seconds < CPU_SECONDS


@pytest.mark.slow
def test_it_shows_what_its_text_says(executed):
    text = text_of(executed[1])
    assert float(re.findall(r"largest difference: (\S+)", text)[0]) < 1e-8
    accuracies = [float(share) for share in re.findall(r"  accuracy +([\d.]+) %", text)]
    gates, iris, digits = accuracies[:4], accuracies[4], accuracies[5:]
    assert gates == [100, 100, 50, 100]
    assert iris >= 90
    assert len(digits) == 2
    assert min(digits) > 85
    assert digits[1] > digits[0]  # the convolutional network is better
    ten = [float(p) for p in re.findall(r"P\(real\): \[([^]]+)\]", text)[0].split()]
    assert len(ten) == 10
    assert all(0.3 < p < 0.7 for p in ten)


COLAB = """
import sys, types
from IPython.core.interactiveshell import InteractiveShell
sys.modules["google.colab"] = types.ModuleType("google.colab")
InteractiveShell.instance().run_cell(sys.argv[1]).raise_error()
"""


@pytest.mark.parametrize("address", ["", "https://example.org/ladder"])
def test_on_colab_it_installs_the_project(address, tmp_path):
    (setup,) = [cell.source for cell in read(NOTEBOOK.read_text()).cells if cell.id == "setup"]
    given = setup.replace('PROJECT = ""', f'PROJECT = "{address}"')
    for name, then in {"git": "mkdir ladder", "pip": "true"}.items():
        (tmp_path / name).write_text(f'#!/bin/sh\necho "{name} $*" >> log.txt\n{then}\n')
        (tmp_path / name).chmod(0o755)
    here = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "IPYTHONDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", COLAB, given], cwd=tmp_path, timeout=60,
                          env=os.environ | here, capture_output=True, text=True)  # fmt: skip
    if not address:
        assert "Write the address of the project into PROJECT" in done.stderr
        assert not (tmp_path / "log.txt").exists()
        return
    assert done.returncode == 0, done.stderr
    expected = f"git clone --quiet {address} ladder\npip install --quiet -e ladder\n"
    assert (tmp_path / "log.txt").read_text() == expected


def git(*args: str, cwd: Path, code: int = 0) -> str:
    identity = {f"GIT_{who}_{what}": "a@b.c" for who in ("AUTHOR", "COMMITTER")
                for what in ("NAME", "EMAIL")}  # fmt: skip
    ours = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")} | identity
    done = subprocess.run(
        ["git", *args], cwd=cwd, env=ours, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def test_a_commit_clears_outputs_and_the_working_file_keeps_them(tmp_path):
    git("init", "--quiet", cwd=tmp_path)
    git("config", "core.hooksPath", str(HOOKS), cwd=tmp_path)
    clean = NOTEBOOK.read_text()
    dirty = read(clean)
    for count, cell in enumerate(code_of(dirty)):
        cell.execution_count = count + 1
        cell.metadata["execution"] = {"iopub.status.busy": "2026-01-01T00:00:00Z"}
        cell.outputs = [nbformat.v4.new_output("stream", text="größer\n")]
    path = tmp_path / "two words" / "lecture.ipynb"
    path.parent.mkdir()
    nbformat.write(dirty, path)
    written = path.read_text()
    (tmp_path / "other.json").write_text(json.dumps({"cells": []}))
    git("add", ".", cwd=tmp_path)
    said = git("commit", "-m", "Add", cwd=path.parent)
    assert "two words/lecture.ipynb: committed without outputs" in said
    assert git("show", "HEAD:two words/lecture.ipynb", cwd=tmp_path) == clean
    assert path.read_text() == written
    path.write_text(clean)
    assert git("status", "--porcelain", cwd=tmp_path) == ""


def test_a_commit_of_a_damaged_notebook_is_refused_in_one_line(tmp_path):
    git("init", "--quiet", cwd=tmp_path)
    git("config", "core.hooksPath", str(HOOKS), cwd=tmp_path)
    (tmp_path / "lecture.ipynb").write_text("{")
    git("add", ".", cwd=tmp_path)
    said = git("commit", "-m", "Add", cwd=tmp_path, code=1)
    assert said == "lecture.ipynb is not a notebook: save it in Jupyter again, or use --no-verify\n"

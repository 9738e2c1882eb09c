"""The exercises as students get them, their solutions, and what a notebook tells about mistakes."""

import ast
import logging
from typing import Any

import matplotlib.pyplot as plt
import pytest

from notebooks.checks import Check
from tests.notebooks.test_lecture import FOLDER, code_of, execute, read

CPU_SECONDS = 60
CHECKS = ["sigma", "gates", "xor", "softmax", "cross-entropy", "gradient", "training", "dropout",
          "convolution", "generator-loss", "collapse", "condition"]  # fmt: skip
AS_DELIVERED = [  # how the message of each check begins
    "`sigma` has no answer yet",
    "`and_gate` has no answer yet",
    "`hidden_weights` has no answer yet",
    "the largest output gets the smallest probability",
    "`loss` has no answer yet",
    "`by_differences` has no answer yet",
    "the gradients of all earlier steps add up",
    "`dropout` has no answer yet",
    "`side` has no answer yet",
    "this is still the old loss",
    "`effective_groups` has no answer yet",
    "`generator_input` has no answer yet",
]


@pytest.fixture
def in_project(in_root):
    """Runs without a screen, and restores the loggers that the notebooks make quiet."""
    plt.switch_backend("Agg")
    loggers = [logging.getLogger(f"lightning.{name}") for name in ("pytorch", "fabric")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def cells_of(name: str) -> list[Any]:
    return read((FOLDER / name).read_text()).cells


def run_cells(name: str) -> tuple[dict[str, Check], dict[str, Any]]:
    """Runs a notebook in this process; returns the result of each check, and its variables."""
    results: dict[str, Check] = {}
    variables: dict[str, Any] = {}
    for cell in cells_of(name):
        if cell.id.endswith("-check"):
            results[cell.id.removesuffix("-check")] = eval(cell.source, variables)
        elif cell.cell_type == "code" and cell.id != "setup":
            exec(compile(ast.parse(cell.source), cell.id, "exec"), variables)
    plt.close("all")
    return results, variables


def test_the_two_notebooks_differ_only_in_the_answers():
    tasks, solutions = cells_of("exercises.ipynb"), cells_of("solutions.ipynb")
    assert [cell.id for cell in tasks] == [cell.id for cell in solutions]
    differ = [one.id for one, two in zip(tasks, solutions, strict=True) if one != two]
    assert differ == [f"{name}-answer" for name in CHECKS]


def test_each_exercise_has_a_text_an_answer_and_a_check():
    cells = cells_of("exercises.ipynb")
    for part in ("text", "answer", "check"):
        found = [cell.id for cell in cells if cell.id.endswith(f"-{part}")]
        assert found == [f"{name}-{part}" for name in CHECKS]
    (setup,) = (cell for cell in cells if cell.id == "setup")
    assert setup in cells_of("lecture.ipynb")


@pytest.mark.usefixtures("in_project")
def test_as_delivered_each_check_fails_and_says_why():
    results, _ = run_cells("exercises.ipynb")
    assert [*results] == CHECKS
    for check, words in zip(results.values(), AS_DELIVERED, strict=True):
        assert repr(check).startswith(f"Not yet: {words}")
        assert not check


@pytest.mark.usefixtures("in_project")
def test_the_solutions_pass_all_checks():
    results, variables = run_cells("solutions.ipynb")
    assert [*results] == CHECKS
    assert [check for check in results.values() if not check] == []
    assert all(repr(check).startswith("Right: ") for check in results.values())
    assert variables["right"] > 0.9  # of the points that the GAN drew are in their class's group
    sets, count = variables["sets"], variables["effective_groups"]
    assert [len(labels.unique()) for labels in sets.values()] == [7, 8, 8]  # this does not help
    a, b, c = (count(labels, 8) for labels in sets.values())
    assert 8 >= b > 7.9 > 7 > a > 6 > 2 > c


@pytest.mark.slow
def test_jupyter_runs_both(tmp_path):
    for name, word in (("exercises.ipynb", "Not yet: "), ("solutions.ipynb", "Right: ")):
        notebook, seconds = execute(name, tmp_path / name)
        cells = [cell for cell in code_of(notebook) if cell.id.endswith("-check")]
        shown = [out.data["text/plain"] for cell in cells for out in cell.outputs]
        assert len(shown) == len(CHECKS)
        assert [text for text in shown if not text.startswith(word)] == []
        print(f"{seconds:.0f} CPU-seconds")
        assert seconds < CPU_SECONDS

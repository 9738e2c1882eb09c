"""Tests without a mark cannot import the optional libraries of pyproject.toml."""

import importlib

import pytest

from tests import OPTIONAL, optional_libraries
from tests.conftest import ROOT


def test_optional_libraries_are_hidden():
    assert not {"torch", "sklearn", "seaborn", "pytest", "nbclient"} & OPTIONAL
    for name in OPTIONAL:
        with pytest.raises(ImportError):
            importlib.import_module(name)


def test_the_list_is_that_of_pyproject(tmp_path):
    """By import names of what is installed; what the project needs itself stays visible."""
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["numpy>=2.0"]\n[project.optional-dependencies]\n'
        'dev = ["ruff", "pytest-xdist>=3.6"]\n'
        'one = ["scikit-learn>=1.5", "numpy>=2.0"]\nother = ["filelock", "no-such-library"]\n'
    )
    assert optional_libraries(tmp_path / "pyproject.toml") == {"sklearn", "filelock"}


@pytest.mark.extras
def test_a_mark_shows_them():
    libraries = {"datasets", "onnx", "optuna"}
    assert libraries <= OPTIONAL
    assert importlib.import_module("datasets").__version__
    assert optional_libraries(ROOT / "pyproject.toml") == OPTIONAL

"""docs/api.md lists every public name with the summary of its docstring."""

import importlib
import inspect
import re

import pytest

from tests.conftest import ROOT

TEXT = (ROOT / "docs/api.md").read_text()
ROOMS = ["ladder", "models", "datamodules", "metrics", "callbacks"]


def expected_rows(room: str) -> list[str]:
    """Returns a line for each function and class that a room offers, by name."""
    module = importlib.import_module(room)
    found = {name: getattr(module, name) for name in module.__all__}
    documented = {k: v for k, v in found.items() if inspect.isclass(v) or inspect.isfunction(v)}
    texts = {name: inspect.getdoc(value).partition("\n\n")[0] for name, value in documented.items()}
    lines = {name: " ".join(text.split()) for name, text in texts.items()}
    return [f"- `{name}`: {lines[name]}" for name in sorted(lines, key=str.lower)]


@pytest.mark.parametrize("room", ROOMS)
def test_the_list_of_public_names_is_true(room):
    section = TEXT.partition(f"::: {room}\n")[0].rpartition("## ")[2]
    assert re.findall(r"^- `.*", section, re.MULTILINE) == expected_rows(room)

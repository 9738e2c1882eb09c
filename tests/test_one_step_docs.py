"""The links of docs/one-step.md lead to code that exists, and its lines are those of the code."""

import ast
import re
from functools import cache
from inspect import getsource

from models import GAN
from tests.conftest import ROOT

TEXT = (ROOT / "docs/one-step.md").read_text()
LINKS = re.findall(r"\[([^\]]+)\]\(([^)]+)\)", TEXT)
DEFINITIONS = (ast.ClassDef, ast.FunctionDef)


@cache
def names_in(file: str) -> set[str]:
    """Returns the functions, classes and methods that a file defines, as `Class.method`."""
    names = set()
    for node in ast.parse((ROOT / "docs" / file).read_text()).body:
        if isinstance(node, DEFINITIONS):
            inner = [item.name for item in node.body if isinstance(item, DEFINITIONS)]
            names |= {node.name, *(f"{node.name}.{name}" for name in inner)}
    return names


def test_each_linked_name_is_defined_in_its_file():
    code = [(label.strip("`"), file) for label, file in LINKS if label.startswith("`")]
    assert len(code) > 20
    assert [(name, file) for name, file in code if name not in names_in(file)] == []
    assert [file for _, file in LINKS if not (ROOT / "docs" / file).is_file()] == []


def test_the_quoted_lines_are_those_of_the_training_step_in_their_order():
    source = getsource(GAN.training_step)
    quoted = "".join(re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)).splitlines()
    offsets = [source.find(line) for line in quoted]
    assert -1 not in offsets
    assert offsets == sorted(offsets)

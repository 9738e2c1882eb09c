"""The planted bugs of `tests/faults/planted.py` can be planted, and its mutants are programs."""

import ast
import random

import pytest

from tests.conftest import ROOT
from tests.faults.planted import BUGS, Bug, mutants, planted


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.what)
def test_a_planted_bug_still_has_its_place(bug: Bug) -> None:
    change = planted(bug)
    ast.parse(change.text)
    assert change.text != (ROOT / bug.file).read_text()


def test_a_place_that_is_gone_or_repeated_is_refused() -> None:
    for old in ("there is no such text", "self"):
        with pytest.raises(ValueError, match=r"0 times|\d\d times"):
            planted(Bug("", "models/base.py", old, ""))


def test_mutants_are_programs_that_differ_from_theirs() -> None:
    file = "models/muon.py"
    found = mutants([file, "README.md", "cli.py"])
    assert {change.file for change in found} == {file}
    whole = ast.dump(ast.parse((ROOT / file).read_text()))
    for change in random.Random(0).sample(found, 20):
        assert ast.dump(ast.parse(change.text)) != whole

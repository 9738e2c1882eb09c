"""The planted bugs of `tests/faults/planted.py` can be planted."""

import ast

import pytest

from tests.faults.planted import BUGS, Bug, planted


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.what)
def test_a_planted_bug_still_has_its_place(bug):
    text = planted(bug)
    if bug.file.endswith(".py"):
        ast.parse(text)


@pytest.mark.parametrize("old", ["there is no such text", "self"])
def test_a_place_that_is_gone_or_repeated_is_refused(old):
    with pytest.raises(ValueError, match=r"0 times|\d\d times"):
        planted(Bug("", "models/base.py", old, ""))

"""The ledger refuses a row with anything lost, hung or silent."""

import pytest

from tests.faults.ledger import Ledger, Row


def test_a_row_that_is_not_clean_fails() -> None:
    own = Ledger()
    own.add(Row("kill", 2))
    for row in (Row("kill", 2, lost=1), Row("kill", 2, hung=1), Row("kill", 2, silent=1)):
        with pytest.raises(AssertionError):
            own.add(row)
    with pytest.raises(AssertionError):
        own.add(Row("kill", 0))
    assert str(Row("kill", 1200)) == "| kill | 1,200 | 0 | 0 | 0 |"

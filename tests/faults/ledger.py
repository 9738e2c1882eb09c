"""Rounds of faults, and the table of what they did."""

import os
from dataclasses import dataclass, field
from typing import NamedTuple

FULL = os.environ.get("LADDER_FAULTS") == "full"


def rounds(full: int, short: int) -> int:
    """Returns how many rounds of a fault to run."""
    return full if FULL else short


class Row(NamedTuple):
    """One line of the table in docs/reliability.md."""

    fault: str
    rounds: int
    lost: int = 0  # rounds after which a checkpoint, a row of a log or a picture was missing
    hung: int = 0  # rounds that did not end in time
    silent: int = 0  # rounds with a wrong result and no message

    def __str__(self) -> str:
        return f"| {self.fault} | {self.rounds:,} | {self.lost} | {self.hung} | {self.silent} |"


@dataclass
class Ledger:
    """All rows of this session, in the order in which their tests ended."""

    rows: list[Row] = field(default_factory=list)

    def add(self, row: Row) -> None:
        """Records a row, then checks that it is clean."""
        self.rows.append(row)
        assert row.rounds > 0
        assert (row.lost, row.hung, row.silent) == (0, 0, 0), row

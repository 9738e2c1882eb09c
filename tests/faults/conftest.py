"""The ledger of faults, printed at the end."""

import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.faults import runs
from tests.faults.ledger import Ledger

_LEDGER = Ledger()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks all tests of this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.faults)


@pytest.fixture
def ledger() -> Ledger:
    """The rows of the table that is printed at the end."""
    return _LEDGER


@pytest.fixture(scope="session")
def uninterrupted(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., tuple[Path, float]]:
    """Returns the root of a run without faults, by kind and processes, and its seconds."""

    @cache
    def run(kind: str, processes: int = 1) -> tuple[Path, float]:
        root, begin = tmp_path_factory.mktemp(kind), time.monotonic()
        runs.finish(runs.start(root, kind, processes=processes), root)
        return root, time.monotonic() - begin

    return run


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the table of docs/reliability.md."""
    if _LEDGER.rows:
        terminalreporter.section("faults")
        terminalreporter.line("| fault | rounds | lost | hung | silent |\n|---|---|---|---|---|")
        for row in _LEDGER.rows:
            terminalreporter.line(str(row))

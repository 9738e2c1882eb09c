"""Marks the tests of this folder, and makes the runs to which they compare."""

from functools import cache
from pathlib import Path

import pytest

from tests.faults import runs


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks all tests of this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.faults)


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory):
    """Returns the root of a run without faults, by kind, options and processes."""

    @cache
    def run(kind: str, *options: str, processes: int = 1) -> Path:
        root = tmp_path_factory.mktemp(kind)
        runs.finish(runs.start(root, kind, *options, processes=processes), root)
        return root

    return run

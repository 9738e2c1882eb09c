"""The memory that is left, on a machine and in a container."""

import math
from pathlib import Path

import pytest

from runtime import memory


@pytest.mark.parametrize(
    ("meminfo", "limit", "used", "expected"),
    [
        ("MemTotal: 9 kB\nMemAvailable:   2048 kB\n", None, None, 2048 * 1024),
        ("MemAvailable: 2048 kB\n", "1000000\n", "400000\n", 600_000),
        ("MemAvailable: 2048 kB\n", "max\n", "400000\n", 2048 * 1024),
        ("MemAvailable: 1 kB\n", "1000000\n", "400000\n", 1024),
        (None, None, None, math.inf),
    ],
)
def test_the_smaller_of_machine_and_container_counts(
    meminfo: str | None, limit: str | None, used: str | None, expected: float,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    files = {"meminfo": meminfo, "memory.max": limit, "memory.current": used}
    for name, text in files.items():
        if text is not None:
            (tmp_path / name).write_text(text)
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    assert memory.available_memory() == expected

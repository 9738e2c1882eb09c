"""Memory in use is told apart from what a process keeps or can read again."""

import gc
import mmap
from pathlib import Path

import pytest
import torch

from benchmarks.watch import in_use_mb, status_mb

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs Linux")


@pytest.fixture(autouse=True)
def _without_garbage() -> None:
    """Frees what other tests left, so that no collection does so in between."""
    gc.collect()


def test_tensors_count_until_they_are_freed() -> None:
    before = in_use_mb()
    tensors = [torch.ones(2_500) for _ in range(5_000)]  # 10,000 bytes each: from the heap
    assert in_use_mb() - before == pytest.approx(50, abs=5)
    last = tensors.pop()  # at the top of the heap: what is below is free, and kept
    tensors.clear()
    assert in_use_mb() - before == pytest.approx(0, abs=5)
    assert last.sum() == 2_500


def test_pages_of_files_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(50_000_000))
    used, resident = in_use_mb(), status_mb("VmRSS")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages:
        assert not any(pages[:: mmap.PAGESIZE])
        assert status_mb("VmRSS") - resident == pytest.approx(50, abs=5)
        assert in_use_mb() - used == pytest.approx(0, abs=5)

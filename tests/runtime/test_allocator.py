"""glibc keeps what is freed: the next step faults in no new pages."""

import resource
import subprocess
import sys

import pytest

from tests.conftest import ROOT

STEPS = """
import resource, torch
from runtime.allocator import keep_freed_memory
assert not {keep} or keep_freed_memory()
def step():
    torch.ones(2**24) + torch.ones(2**24)  # 64 MB each
step()
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_freed_memory_is_used_again() -> None:
    def page_faults(keep: bool) -> int:
        code = STEPS.format(keep=keep)
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    pages = 5 * 3 * 2**26 // resource.getpagesize()
    assert page_faults(keep=True) < pages / 50
    assert page_faults(keep=False) > page_faults(keep=True)

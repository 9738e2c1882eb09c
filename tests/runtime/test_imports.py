"""Imports: what nobody uses is left out, and there for those who use it."""

import subprocess
import sys

SCRIPT = """
import sys
from runtime.imports import without_unused_modules

with without_unused_modules():
    import commands.ladder_cli
print("scipy.signal" in sys.modules, "torchmetrics" in sys.modules)

import scipy.signal
print(scipy.signal.convolve([1, 2], [3]))
"""


def test_scipy_signal_is_imported_by_those_who_use_it_alone() -> None:
    found = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert found.stdout.splitlines() == ["False True", "[3 6]"], found.stderr


def test_a_module_that_is_there_already_stays() -> None:
    script = f"import scipy.signal as first{SCRIPT}assert scipy.signal is first"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert found.stdout.splitlines() == ["True True", "[3 6]"], found.stderr

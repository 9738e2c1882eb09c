"""The guard of foreign runs works with the lowest and the highest jsonargparse that are allowed.

It stands on private parts of jsonargparse, so pyproject.toml allows no version beyond these.
"""

import os
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

PART = ("test_trust.py", "test_class_defaults.py", "test_ranges.py")
BOUNDS = re.search(
    r'"jsonargparse\[signatures\]>=([\d.]+),<=([\d.]+)"', (ROOT / "pyproject.toml").read_text()
).groups()


@pytest.mark.slow
@pytest.mark.parametrize("version", BOUNDS)
def test_the_guard_works_with_both_bounds(version, tmp_path):
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--disable-pip-version-check"]
    wanted = ["--target", str(tmp_path / "lib"), f"jsonargparse=={version}"]
    done = subprocess.run([*pip, *wanted], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"jsonargparse {version} cannot be installed, for example without a network")
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "lib")}
    python = [sys.executable, "-c", "import jsonargparse; print(jsonargparse.__version__)"]
    found = subprocess.check_output(python, env=environment, cwd=ROOT, text=True)
    assert found.strip() == version
    tests = [f"tests/runtime/{name}" for name in PART]
    pytest_ = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    basetemp = f"--basetemp={tmp_path / 'tests'}"
    done = subprocess.run(
        [*pytest_, basetemp, *tests], env=environment, cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:]

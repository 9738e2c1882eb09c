"""One SLURM for all tests here, started for the first and stopped after the last."""

import os
import sys

import pytest

from tests.conftest import ROOT, skip
from tests.slurm.cluster import HOSTS, Cluster, missing


@pytest.fixture(scope="session")
def cluster():
    if reason := missing():
        (skip if os.access(HOSTS, os.W_OK) else pytest.skip)(reason)
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """The folder for the run folders of a test's jobs."""
    monkeypatch.setenv("RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("PYTHON", sys.executable)
    monkeypatch.chdir(ROOT)
    return tmp_path / "runs"

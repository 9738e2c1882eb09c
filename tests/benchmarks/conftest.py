"""The benchmarks of image quality without training."""

from pathlib import Path

import pytest

from benchmarks import ablations, reproduce, scored_run
from tests.benchmarks.fake_launch import FakeLaunch
from tests.conftest import ROOT


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeLaunch:
    """Nothing is trained, and the project's folder is another, with the configs only."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    for module in (reproduce, ablations, scored_run):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(scored_run, "launch", found := FakeLaunch())
    return found

"""Tricks are tried one at a time; runs are kept, and not repeated."""

import json
from pathlib import Path

import pytest

from benchmarks import tricks
from benchmarks.scored_run import Ended
from tests.benchmarks.fake_launch import FakeLaunch
from tests.conftest import ROOT
from tests.test_cli import parsed


@pytest.mark.parametrize("name", tricks.TRICKS)
def test_fit_accepts_a_trick(name: str) -> None:
    config = parsed("fit", f"--config={ROOT / tricks.CONFIG}", *tricks.TRICKS[name].options)
    plain = parsed("fit", f"--config={ROOT / tricks.CONFIG}")
    changed = config.config.fit.model != plain.config.fit.model
    assert changed == (name != tricks.NONE)


def test_runs_are_kept_and_not_repeated(fake: FakeLaunch, tmp_path: Path) -> None:
    args = ["--only", "none", "noise", "--out", str(tmp_path)]
    fake.ends["fit", "seed_1"] = Ended(1, 3.0, "exit code 1: too noisy")
    tricks.main([*args, "--seeds", "0", "1"])
    first = len(fake.commands)
    tricks.main([*args, "--seeds", "0", "1", "2"])
    assert len(fake.commands) == first + 4  # fit and validate of two tricks
    logs = json.loads((tmp_path / "tricks.json").read_text())
    assert [(log["trick"], log["seed"]) for log in logs] == [
        (name, seed) for seed in range(3) for name in ("none", "noise")
    ]
    assert logs[2]["reason"] == "fit: exit code 1: too noisy"
    lines = (tmp_path / "tricks.md").read_text().splitlines()
    (row,) = [line for line in lines if line.startswith("| 13: noise")]
    assert "--model.view.noise 0.2" in row
    # frechet 1 and 3, and a failed run that is counted
    assert row.split(" | ")[2:4] == ["2 of 3", "2 ± 1.4"]
    assert any(line.startswith("| real images |") and "0.5" in line for line in lines)

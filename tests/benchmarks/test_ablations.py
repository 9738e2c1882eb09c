"""Changes are tried one at a time; runs are kept, and not repeated."""

import json
from pathlib import Path

import pytest

from benchmarks import ablations
from benchmarks.ablations import NONE, STUDIES
from benchmarks.scored_run import Ended
from tests.benchmarks.fake_launch import FakeLaunch
from tests.conftest import ROOT
from tests.test_cli import parsed

CHANGES = [(study, name) for study, found in STUDIES.items() for name in found.changes]


@pytest.mark.parametrize(("study", "name"), CHANGES)
def test_fit_accepts_a_change(study: str, name: str) -> None:
    config = f"--config={ROOT / STUDIES[study].config}"
    found = parsed("fit", config, *STUDIES[study].options, *STUDIES[study].changes[name].options)
    plain = parsed("fit", config, *STUDIES[study].options)
    changed = found.config.fit.model != plain.config.fit.model
    assert changed == (name != NONE)


@pytest.fixture
def args(tmp_path: Path) -> list[str]:
    return ["tricks", "--only", "none", "noise", "--out", str(tmp_path)]


def test_runs_are_kept_and_not_repeated(fake: FakeLaunch, args: list[str], tmp_path: Path) -> None:
    fake.ends["fit", "seed_1"] = Ended(1, 3.0, "exit code 1: too noisy")
    ablations.main([*args, "--seeds", "0", "1"])
    first = len(fake.commands)
    ablations.main([*args, "--seeds", "0", "1", "2"])
    assert len(fake.commands) == first + 4  # fit and validate of two changes
    logs = json.loads((tmp_path / "tricks.json").read_text())
    assert [(log["change"], log["seed"]) for log in logs] == [
        (name, seed) for seed in range(3) for name in ("none", "noise")
    ]
    assert logs[2]["reason"] == "fit: exit code 1: too noisy"
    lines = (tmp_path / "tricks.md").read_text().splitlines()
    (row,) = [line for line in lines if line.startswith("| 13: noise")]
    assert "--model.view.noise 0.2" in row
    # frechet 1 and 3, and a failed run that is counted
    assert row.split(" | ")[2:4] == ["2 of 3", "2 ± 1.4"]
    assert any(line.startswith("| real images |") and "0.5" in line for line in lines)


def test_the_table_is_written_when_no_run_is_missing(
    fake: FakeLaunch, args: list[str], tmp_path: Path
) -> None:
    ablations.main([*args, "--seeds", "0"])
    path = tmp_path / "tricks.md"
    table = path.read_text()
    path.unlink()
    ablations.main([*args, "--seeds", "0"])
    assert path.read_text() == table


@pytest.mark.parametrize("key", ["config_sha256", "options", "change"])
def test_runs_of_another_config_are_not_mixed_in(
    key: str, fake: FakeLaunch, args: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ablations.main([*args, "--seeds", "0"])
    path = tmp_path / "tricks.json"
    logs = json.loads(path.read_text())
    logs[1][key] = "other"
    path.write_text(json.dumps(logs))
    first = len(fake.commands)
    with pytest.raises(SystemExit) as error:
        ablations.main([*args, "--seeds", "0", "1"])
    assert error.value.code == 2
    said = capsys.readouterr().err
    assert "tricks.json: the run of" in said
    assert "seed 0 has another config or other options" in said
    assert len(fake.commands) == first
    assert json.loads(path.read_text()) == logs


def test_options_of_a_study_reach_all_its_runs(fake: FakeLaunch, tmp_path: Path) -> None:
    ablations.main(["cgan", "--only", "none", "r1", "--seeds", "0", "--out", str(tmp_path)])
    fits = [command for command in fake.commands if "fit" in command]
    assert len(fits) == 2
    for command in fits:
        assert command[command.index("--trainer.max_steps") + 1] == "600"
    assert "600" in (tmp_path / "cgan.md").read_text()


def test_an_unknown_change_is_named(
    fake: FakeLaunch, args: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as error:
        ablations.main([*args, "--only", "magic"])
    assert error.value.code == 2
    assert "tricks has no change 'magic': choose from none, minimax" in capsys.readouterr().err
    assert not fake.commands

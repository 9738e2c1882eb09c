"""A part of the published scores is repeated, logged and summarized."""

import json
from pathlib import Path

import pytest

from benchmarks import reproduce, scored_run
from benchmarks.reproduce import PARTS, Part
from benchmarks.scored_run import Ended
from tests.benchmarks.fake_launch import FakeLaunch
from tests.conftest import ROOT
from tests.test_cli import parsed


def main(folder: Path, *args: str) -> None:
    own, fit = scored_run.split_options(args)
    reproduce.main([*own, "--runs", str(folder / "runs"), "--", *fit])


def logs(folder: Path) -> dict[str, dict]:
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}


def row(folder: Path, begin: str) -> list[str]:
    lines = (folder / "table.md").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith(f"| {begin} ")]
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize(
    ("args", "error"),
    [
        ([], "error: no part is given: set PART to one of cgan, gan, "),
        (["cgann"], "error: there is no part 'cgann': set PART to one of cgan, gan, "),
        (["gone"], "error: part gone: configs/recipes/gone.yaml does not exist: restore it, or"),
    ],
)
def test_a_mistake_is_one_line(
    args: list[str],
    error: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(PARTS, "gone", Part("recipes/gone.yaml"))
    with pytest.raises(SystemExit) as ended:
        reproduce.main(args)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(error)


@pytest.mark.parametrize("name", PARTS)
def test_fit_accepts_a_part(name: str) -> None:
    part = PARTS[name]
    config = ROOT / "configs" / part.config
    chosen = parsed("fit", f"--config={config}", *part.options, "--data.data_dir=x").config.fit
    assert chosen.data.init_args.get("dataset") != "auto"  # which may fall back to other images


def test_seeds_are_logged_and_summarized(fake: FakeLaunch, tmp_path: Path) -> None:
    main(tmp_path, "cgan", "--seeds", "0", "2")
    folder = tmp_path / "docs/quality/cgan"
    found = logs(folder)
    assert found.keys() == {"seed_0", "seed_2"}
    assert [*found["seed_0"]][:4] == ["part", "status", "seed", "split"]
    assert all((folder / f"{name}.json").stat().st_size < 4000 for name in found)
    # frechet 1 and 3: the standard deviation is sqrt((1 + 1) / (2 - 1))
    assert row(folder, "frechet") == ["frechet ↓", "2", "1.414", "2", "1", "3", "0.5"]
    assert row(folder, "recall") == ["recall ↑", "-", "-", "0", "-", "-", "-"]
    assert row(folder, "2")[:4] == ["2", "done", "7", "60+2"]
    assert (
        "- Images behind `frechet`: generated 9, train 9, test 5\n"
        in (folder / "table.md").read_text()
    )


def test_logs_of_other_seeds_stay_and_count(fake: FakeLaunch, tmp_path: Path) -> None:
    folder = tmp_path / "docs/quality/cgan"
    main(tmp_path, "cgan", "--seeds", "4")
    main(tmp_path, "cgan", "--seeds", "0")
    assert row(folder, "frechet")[1:4] == ["3", "2.828", "2"]  # 1 and 5


def test_a_failed_run_is_logged_and_the_others_go_on(fake: FakeLaunch, tmp_path: Path) -> None:
    fake.ends["fit", "seed_1"] = Ended(1, 9.0, "exit code 1: NaN")
    with pytest.raises(SystemExit) as ended:
        main(tmp_path, "cgan", "--seeds", "0", "1", "2")
    assert ended.value.code == 1
    folder = tmp_path / "docs/quality/cgan"
    assert [log["status"] for _, log in sorted(logs(folder).items())] == ["done", "failed", "done"]
    assert row(folder, "frechet")[1:4] == ["2", "1.414", "2"]
    assert row(folder, "1")[:4] == ["1", "fit: exit code 1: NaN", "-", "9"]


def test_logs_of_another_config_are_listed_but_do_not_count(
    fake: FakeLaunch, tmp_path: Path
) -> None:
    folder = tmp_path / "docs/quality/cgan"
    main(tmp_path, "cgan", "--seeds", "0", "8")
    old = logs(folder)["seed_8"] | {"config_sha256": "0"}
    (folder / "seed_8.json").write_text(json.dumps(old))
    (folder / "seed_9.json").write_text("{")
    main(tmp_path, "cgan", "--seeds", "1")
    assert row(folder, "frechet")[1:4] == ["1.5", "0.7071", "2"]
    assert row(folder, "8")[1].startswith("done (another config")
    assert row(folder, "?")[1].startswith("seed_9.json cannot be read")


@pytest.mark.parametrize(
    "args", [["cgan", "--split", "val"], ["cgan", "--", "--trainer.max_steps", "7"]]
)
def test_another_experiment_leaves_the_published_logs_alone(
    args: list[str], fake: FakeLaunch, tmp_path: Path
) -> None:
    main(tmp_path, *args)
    assert len(logs(tmp_path / "runs/trials/cgan")) == 5
    assert not (tmp_path / "docs").exists()


def test_a_mistake_in_the_options_logs_nothing(
    fake: FakeLaunch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.ends["fit", "seed_0"] = Ended(2, 1.0, "exit code 2: there is no MNIST")
    with pytest.raises(SystemExit) as ended:
        main(tmp_path, "gan")
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: configs/gan.yaml: there is no MNIST\n"
    assert not (tmp_path / "docs").exists()

"""A part of the published scores is repeated, recorded and summarized."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from benchmarks import reproduce
from benchmarks.reproduce import EXPERIMENT, PARTS
from runtime.files import METRICS, write_json
from tests.conftest import ROOT
from tests.results.recorded import result


class FakeLaunch:
    """Stands in for cli.py: a run's `frechet` is its seed + 1, that of real images 0.5."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.codes: dict[tuple[str, str], int] = {}  # exit code by command and run

    def __call__(self, args: Sequence[str], log: Path) -> int:
        self.commands.append([*args])
        command, given = args[0], dict(zip(args, args[1:], strict=False))
        fits = command == "fit"
        folder = given["--trainer.default_root_dir"] if fits else given["--ckpt_path"]
        run = Path(folder, given["--experiment"]) if fits else Path(folder)
        if code := self.codes.get((command, run.name)):
            log.write_text("Epoch 1\nerror: too bad\n")
            return code
        if fits:
            (run / "version_0/checkpoints").mkdir(parents=True, exist_ok=True)
            torch.save(
                {"global_step": 7, "state_dict": {}}, run / "version_0/checkpoints/last.ckpt"
            )
            log.write_text("CPU-seconds of training: 9.5\n")
            return 0
        stage = {"test": "test", "validate": "val"}[command]
        scores = {"frechet": int(run.name.removeprefix("seed_")) + 1.0, "recall": None}
        found = {stage: [result(scores, floor={"frechet": 0.5})]}
        write_json(run / "version_0" / METRICS, found)
        return 0


@pytest.fixture
def fake(monkeypatch):
    launch = FakeLaunch()
    monkeypatch.setattr(reproduce, "launch", launch)
    return launch


def run(folder: Path, *args: str) -> tuple[int, pd.DataFrame]:
    out = folder / "quality.csv"
    with pytest.raises(SystemExit) as ended:
        reproduce.main([*args[:1], "--runs", str(folder / "runs"), "--out", str(out), *args[1:]])
    return int(ended.value.code or 0), pd.read_csv(out) if out.exists() else pd.DataFrame()


def test_seeds_are_recorded_and_summarized(fake, tmp_path, capsys):
    code, found = run(tmp_path, "cgan", "--seeds", "0", "2")
    assert code == 0
    assert found["seed"].tolist() == [0, 2]
    assert found["status"].tolist() == ["done", "done"]
    assert found["cpu_seconds_training"].tolist() == [9.5, 9.5]
    row = next(line for line in capsys.readouterr().out.splitlines()[::-1] if "frechet" in line)
    # frechet 1 and 3: the standard deviation is sqrt((1 + 1) / (2 - 1))
    assert row.split() == ["frechet", "2", "1.414", "2", "1", "3", "0.5"]


def test_a_copy_without_git_has_runs_without_a_commit(fake, tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce, "commit", lambda: "")
    assert run(tmp_path, "cgan", "--seeds", "0", "1")[0] == 0


def test_a_repeated_run_takes_the_place_of_the_first(fake, tmp_path):
    run(tmp_path, "cgan", "--seeds", "4", "1")
    _, found = run(tmp_path, "cgan", "--seeds", "1")
    assert sorted(found["seed"]) == [1, 4]


def test_other_options_are_another_experiment(fake, tmp_path, capsys):
    run(tmp_path, "cgan", "--seeds", "0")
    _, found = run(tmp_path, "cgan", "--seeds", "1", "--", "--trainer.max_steps", "9")
    assert len(found) == 2
    row = next(line for line in capsys.readouterr().out.splitlines()[::-1] if "frechet" in line)
    assert row.split()[3] == "1"  # counted
    assert fake.commands[2][-2:] == ["--trainer.callbacks+", "benchmarks.pacing.CpuSeconds"]
    assert fake.commands[2][7:9] == ["--trainer.max_steps", "9"] or "9" in fake.commands[2]


@pytest.mark.parametrize(
    ("options", "file", "row"),
    [
        ([], "quality.csv", True),
        (["--split", "val"], "quality.csv", False),
        (["--split", "val", "--", "--trainer.max_steps", "9"], "quality.csv", False),
        (["--", "--trainer.max_steps", "9"], "trials.csv", False),
    ],
)
def test_validation_runs_are_published_and_change_no_text(
    options, file, row, fake, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(reproduce, "PUBLISHED", tmp_path / "quality.csv")
    monkeypatch.setattr(reproduce, "TRIALS", tmp_path / "trials.csv")
    with pytest.raises(SystemExit):
        reproduce.main(["cgan", "--runs", str(tmp_path / "runs"), "--seeds", "0", *options])
    assert [path.name for path in tmp_path.glob("*.csv")] == [file]
    expected = "val" if "val" in options else "test"
    assert pd.read_csv(tmp_path / file)["split"].tolist() == [expected]
    assert ("python -m benchmarks.measured" in capsys.readouterr().out) == row


def test_a_failed_run_is_recorded_with_its_reason(fake, tmp_path):
    fake.codes["fit", "seed_0"] = 1
    code, found = run(tmp_path, "cgan", "--seeds", "0", "1")
    assert code == 1
    assert found["status"].tolist() == ["fit failed: too bad", "done"]


@pytest.mark.parametrize("code", [None, 2])
def test_a_mistake_is_one_line(code, fake, tmp_path, capsys):
    if code:
        fake.codes["fit", "seed_0"] = code
    found, runs = run(tmp_path, "cgan" if code else "cgann", "--seeds", "0")
    (line,) = capsys.readouterr().err.splitlines()
    wanted = "configs/cgan.yaml: too bad" if code else "there is no part 'cgann': set PART to one"
    assert (found, len(runs)) == (2, 0)
    assert line.startswith(f"error: {wanted}")


@pytest.mark.parametrize("name", PARTS)
def test_every_part_has_a_config_and_never_falls_back(name):
    part = PARTS[name]
    data = yaml.safe_load((ROOT / part.config).read_text())["data"]["init_args"]
    options = dict(zip(part.options, part.options[1:], strict=False))
    given = part.pictures or options.get("--data.dataset", data.get("dataset", "auto"))
    assert given != "auto"


def test_own_pictures_their_judge_and_a_split_for_each_seed_are_parts(fake, tmp_path):
    run(tmp_path, "own-cgan", "--seeds", "1", "--data-dir", str(tmp_path))
    _, found = run(tmp_path, "finetune-two", "--seeds", "3", "--data-dir", str(tmp_path))
    fit, test, tuned, _ = (dict(zip(words, words[1:], strict=False)) for words in fake.commands)
    assert fit["--data.path"] == str(tmp_path / "five")
    assert test["--quality.judge"] == "pretrained"
    assert (tuned["--data.path"], tuned["--data.split_seed"]) == (str(tmp_path / "two"), "3")
    assert not {"--data.data_dir", "--quality.judge"} & {*fit, *tuned}
    assert found["options"].iloc[-1].endswith("--data.split_seed SEED")  # one experiment


def test_a_run_adds_a_line_to_the_published_file_and_changes_none(tmp_path):
    file = tmp_path / "quality.csv"
    known = (ROOT / "docs/quality.csv").read_text()
    file.write_text(known)
    reproduce.add(dict.fromkeys(EXPERIMENT, "new") | {"seed": 9, "frechet": 1 / 3}, file)
    added = file.read_text().removeprefix(known)
    assert added.count("\n") == 1
    assert ",0.333333," in added

"""`sweep --space` searches for the best setting, also in several processes and after a kill."""

import csv
import os
import signal
import sys
from pathlib import Path

import pytest
import yaml
from matplotlib.image import imread

from commands import sweep_space
from commands.sweep import _parse
from commands.sweep_search import Trials, _direction
from tests.commands.sweeps import Sweep, fake_sweep
from tests.commands.test_sweep import wait_for
from tests.test_cli import fails, run

sweep = pytest.fixture(fake_sweep)
extras = pytest.mark.extras  # imports Optuna


@pytest.fixture
def space(tmp_path: Path) -> Path:
    file = tmp_path / "space.yaml"
    file.write_text("x: {low: -2, high: 2.0}\nlayers: [[1], [2, 2]]\nname: [a, b]\n")
    return file


def flags(space: Path, trials: int, *others: str) -> list[str]:
    return [f"--space={space}", f"--trials={trials}", "--objective=val/loss", *others]


def trials_of(sweep: Sweep) -> list[dict[str, str]]:
    with (sweep.out / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@extras
def test_a_search_and_its_results(
    sweep: Sweep, space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep.run(*flags(space, 4))
    printed = capsys.readouterr().out
    assert "Objective: minimize val/loss" in printed
    assert "4 complete" in printed
    trials = trials_of(sweep)
    assert [float(t["val/loss"]) for t in trials] == [float(t["x"]) ** 2 for t in trials]
    best = min(trials, key=lambda trial: float(trial["val/loss"]))
    (row,) = [n.split() for n in printed.splitlines() if n.startswith(best["trial"] + " ")]
    assert float(row[1]) == pytest.approx(float(best["val/loss"]), rel=1e-3)
    overlay = yaml.safe_load((sweep.out / "best.yaml").read_text())
    assert overlay["x"] == float(best["x"])
    assert f"--config {sweep.out}/best.yaml" in (sweep.out / "best.yaml").read_text()
    assert imread(sweep.out / "trials.png").shape[0] > 50


@extras
@pytest.mark.parametrize(("sampler", "total"), [("tpe", 12), ("random", 4)])
def test_a_search_that_is_continued_is_the_same(
    sampler: str, total: int, sweep: Sweep, space: Path, tmp_path: Path
) -> None:
    """12 trials: TPE chooses the first ten at random."""
    sweep.run(*flags(space, 3, f"--sampler={sampler}"))
    sweep.run(*flags(space, total, f"--sampler={sampler}"))
    assert len(trials_of(sweep)) == total
    (tmp_path / "whole").mkdir()
    whole = Sweep(tmp_path / "whole")
    whole.run(*flags(space, total, f"--sampler={sampler}"))
    values = [[trial["x"] for trial in trials_of(search)] for search in (sweep, whole)]
    assert values[0] == values[1]
    assert len(set(values[0])) == total


@extras
def test_a_failing_trial_is_recorded(sweep: Sweep, tmp_path: Path) -> None:
    space = tmp_path / "space.yaml"
    space.write_text("x: [1, 2]\n")
    sweep.run(*flags(space, 6, "--fails_if_x=2"))
    trials = trials_of(sweep)
    assert {(t["x"], t["state"], t["error"]) for t in trials} == {
        ("1", "complete", ""),
        ("2", "fail", "RuntimeError: out of luck"),
    }
    assert len(trials) == 6


@extras
def test_a_trial_that_ended_meanwhile_is_not_continued(sweep: Sweep, space: Path) -> None:
    """Another process may record it after its state was read, and before it is claimed."""
    sweep.run(*flags(space, 1))
    options, _ = _parse(sweep.args(*flags(space, 1))[1:])
    source = Trials(options, sweep_space.read(space), "minimize")
    assert source._continue(0) is None
    assert sweep.calls("trial_0") == [""]


@extras
def test_wrong_input_of_the_first_trial_ends_the_search(
    sweep: Sweep, space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = fails(capsys, *sweep.args(*flags(space, 5, "--refuses=data.val_fraction is 0")))
    assert line.startswith("error: trial_0: data.val_fraction is 0 Delete ")
    assert not (sweep.out / "trial_1").exists()


@extras
def test_no_trial_with_a_value_is_an_error(
    sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = tmp_path / "space.yaml"
    space.write_text("x: [2]\n")
    line = fails(capsys, *sweep.args(*flags(space, 2, "--fails_if_x=2")))
    assert line.startswith("error: no trial has ended with a value.")
    assert [trial["state"] for trial in trials_of(sweep)] == ["fail", "fail"]
    assert not (sweep.out / "best.yaml").exists()


@extras
@pytest.mark.parametrize("in_job", [False, True])
def test_two_processes_share_a_search(
    in_job: bool, sweep: Sweep, space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if in_job:
        monkeypatch.setenv("SLURM_JOB_ID", "7")
    options = flags(space, 7, "--seconds=0.2")
    processes = [sweep.start(*options) for _ in range(2)]
    printed = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], printed
    assert (sweep.out / ("study.journal" if in_job else "study.db")).is_file()
    assert [len(sweep.calls(f"trial_{i}")) for i in range(7)] == [1] * 7
    assert not (sweep.out / "trial_7").exists()
    assert all("done after" in text for text in printed)  # both took part
    trials = trials_of(sweep)
    assert len({trial["x"] for trial in trials}) == 7
    assert {trial["state"] for trial in trials} == {"complete"}


@extras
def test_a_killed_search_resumes_its_trials(sweep: Sweep, space: Path) -> None:
    options = flags(space, 4, "--jobs=2", "--seconds=0.5")
    process = sweep.start(*options)
    wait_for(lambda: len(list(sweep.out.glob("trial_*/*/checkpoints/*.ckpt"))) == 2)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    sweep.run(*options)
    for name in ("trial_0", "trial_1"):
        assert sweep.calls(name) == ["", str(sweep.out / name)]
    assert [trial["state"] for trial in trials_of(sweep)] == ["complete"] * 4


@extras
def test_a_trial_of_another_process_is_left_to_it(
    sweep: Sweep, space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    process = sweep.start(*flags(space, 2, "--seconds=60"))
    wait_for(lambda: list(sweep.out.glob("trial_0/*/checkpoints/*.ckpt")))
    other = sweep.start(*flags(space, 2, "--seconds=60"))
    wait_for(lambda: list(sweep.out.glob("trial_1/*/checkpoints/*.ckpt")))
    for each in (process, other):
        each.terminate()
        assert "trial_" in each.communicate(timeout=20)[0]
        assert each.returncode == 75
    assert [sweep.calls(f"trial_{i}") for i in range(2)] == [[""], [""]]


@extras
def test_a_pruned_trial_that_was_not_recorded_is_not_trained(sweep: Sweep, space: Path) -> None:
    from runtime import study as studies

    sweep.run(*flags(space, 1))
    study = studies.open_study(studies.file_in(sweep.out))
    trial = study.ask()
    trial.suggest_float("x", -2, 2)
    trial.report(1.5, 0)
    trial.set_user_attr(studies.PRUNED, 40)
    sweep.run(*flags(space, 3))
    assert [trial["state"] for trial in trials_of(sweep)] == ["complete", "pruned", "complete"]
    assert not (sweep.out / "trial_1" / "calls").exists()


@extras
def test_an_objective_that_is_not_logged_ends_the_search(
    sweep: Sweep, space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = fails(capsys, *sweep.args(*flags(space, 5, "--metric=val/accuracy")))
    assert "val/loss: the run has not logged it. It has logged train/loss, val/accuracy." in line
    assert not (sweep.out / "trial_1").exists()


@extras
@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        ("test/loss", "a search must not see the test set"),
        ("loss", "give a metric that begins with val/ or train/"),
    ],
)
def test_objectives_are_of_validation_or_training(
    objective: str, expected: str, sweep: Sweep, space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [f"--space={space}", f"--objective={objective}"]
    assert expected in fails(capsys, *sweep.args(*options))
    assert "no.yaml: no such file." in fails(
        capsys, *sweep.args("--space=no.yaml", "--objective=val/x")
    )
    assert "missing: --objective" in fails(capsys, *sweep.args(options[0]))
    assert not sweep.out.exists()


@extras
def test_an_unknown_option_in_the_space_is_refused(
    sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = tmp_path / "space.yaml"
    space.write_text("xx: [1, 2]\n")
    line = fails(capsys, *sweep.args(*flags(space, 3)))
    assert line == "error: there is no option '--xx'. Did you mean --x?"
    assert not sweep.out.exists()


@extras
def test_a_search_folder_belongs_to_one_space(
    sweep: Sweep, space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep.run(*flags(space, 1))
    assert "differs in --sampler: 'tpe' there, 'random'" in fails(
        capsys, *sweep.args(*flags(space, 2, "--sampler=random"))
    )
    space.write_text("x: {low: -2, high: 3.0}\nlayers: [[1], [2, 2]]\nname: [a, b]\n")
    assert "differs in the space's x" in fails(capsys, *sweep.args(*flags(space, 2)))
    assert "another sweep" in fails(capsys, *sweep.args("--seeds=3"))


def test_a_missing_optuna_is_one_line(
    sweep: Sweep,
    space: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    line = fails(capsys, *sweep.args(*flags(space, 3)))
    assert line == 'error: --space needs Optuna: pip install -e ".[sweep]"'
    assert not sweep.out.exists()


def test_the_objective_says_the_direction() -> None:
    assert _direction("val/label_accuracy") == "maximize"
    assert [_direction(name) for name in ("val/frechet", "val/loss")] == ["minimize"] * 2


@extras
@pytest.mark.slow
def test_a_search_of_a_real_config(
    tmp_path: Path, in_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    setting = ["--config=configs/iris.yaml", "--trainer.max_epochs=2", "--data.val_fraction=0.2"]
    search = ["--space=configs/sweep/iris.yaml", "--trials=2", "--objective=val/loss"]
    run("sweep", *setting, *search, f"--out={out}", "--jobs=2")
    assert "2 complete" in capsys.readouterr().out
    run("fit", *setting, f"--config={out}/best.yaml", f"--trainer.default_root_dir={tmp_path}")
    again = yaml.safe_load((tmp_path / "iris" / "version_0" / "config.yaml").read_text())
    best = yaml.safe_load((out / "best.yaml").read_text())
    lr = best["model"]["init_args"]["optimizer"]["init_args"]["lr"]
    assert again["model"]["init_args"]["optimizer"]["init_args"]["lr"] == lr
    assert again["model"]["init_args"]["optimizer"]["init_args"]["weight_decay"] == 0.1
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("model.network.hiden: [[3], [4]]\n")
    line = fails(capsys, "sweep", *setting, f"--space={wrong}", *search[1:])
    assert line == "error: --model.network: FeedForward has no option 'hiden'. Did you mean hidden?"

"""`sweep --space` searches for the best setting, also in several processes and after a kill."""

import csv
import os
import signal
from pathlib import Path

import pytest
from matplotlib.image import imread

from commands.sweep_search import checked
from tests.commands.sweeps import Sweep, fake_sweep
from tests.commands.test_sweep import Output, checkpoints, wait_for
from tests.test_cli import fails

pytestmark = pytest.mark.extras  # imports Optuna
sweep = pytest.fixture(fake_sweep)


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


def test_a_search_and_its_results(sweep: Sweep, space: Path, capsys: Output) -> None:
    sweep.run(*flags(space, 4))
    printed = capsys.readouterr().out
    assert "4 complete" in printed
    trials = trials_of(sweep)
    assert [float(t["val/loss"]) for t in trials] == [float(t["x"]) ** 2 for t in trials]
    best = min(trials, key=lambda trial: float(trial["val/loss"]))
    rows = [line.split() for line in printed.splitlines()]
    first = rows[rows.index(["trial", "val/loss", "x", "layers", "name"]) + 1]
    assert first[0] == best["trial"]
    assert float(first[1]) == pytest.approx(float(best["val/loss"]), rel=1e-2)
    command = f"fit --config {sweep.config} --x={best['x']} "
    assert f"The best again: python cli.py {command}" in printed
    for name in ("trials.png", "slices.png"):
        assert imread(sweep.out / name).shape[0] > 50


def test_a_search_that_is_continued_is_the_same(sweep: Sweep, space: Path, tmp_path: Path) -> None:
    """12 trials: TPE chooses the first ten at random."""
    sweep.run(*flags(space, 3))
    sweep.run(*flags(space, 12))
    (tmp_path / "whole").mkdir()
    whole = Sweep(tmp_path / "whole")
    whole.run(*flags(space, 12))
    values = [[trial["x"] for trial in trials_of(search)] for search in (sweep, whole)]
    assert values[0] == values[1]
    assert len(set(values[0])) == 12


def test_a_failing_trial_is_recorded(sweep: Sweep, tmp_path: Path, capsys: Output) -> None:
    space = tmp_path / "space.yaml"
    space.write_text("x: [1, 2]\n")
    sweep.run(*flags(space, 6, "--fails_if_x=2"))
    trials = trials_of(sweep)
    assert {(t["x"], t["state"], t["error"]) for t in trials} == {
        ("1", "complete", ""),
        ("2", "fail", "RuntimeError: out of luck"),
    }
    assert len(trials) == 6
    assert "failed: RuntimeError: out of luck (log: " in capsys.readouterr().out


def test_a_trial_that_is_worse_than_the_median_is_stopped(sweep: Sweep, tmp_path: Path) -> None:
    space = tmp_path / "space.yaml"
    space.write_text("x: {low: 1, high: 1}\n")
    sweep.run(*flags(space, 5, "--seconds=1"))

    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    backend = JournalFileBackend(str(sweep.out / "study.journal"))
    study = optuna.load_study(study_name="sweep", storage=JournalStorage(backend))
    assert [trial.intermediate_values for trial in study.trials] == [{0: 1.0}] * 5
    study.ask({"x": optuna.distributions.IntDistribution(2, 2)})  # by a process that was killed
    sweep.run(*flags(space, 6, "--seconds=1"))
    assert [trial["state"] for trial in trials_of(sweep)] == ["complete"] * 5 + ["pruned"]


def test_mistakes_end_the_search_and_leave_nothing(
    sweep: Sweep, space: Path, capsys: Output
) -> None:
    line = fails(capsys, *sweep.args(*flags(space, 5, "--refuses=val_fraction is 0")))
    assert line == "error: val_fraction is 0"
    line = fails(capsys, *sweep.args(*flags(space, 5, "--metric=val/accuracy")))
    assert "val/loss: the run has not logged it, but train/loss, val/accuracy." in line
    args = sweep.args(f"--space={space}")
    assert "must not see the test set" in fails(capsys, *args, "--objective=test/loss")
    assert "begins with val/ or train/" in fails(capsys, *args, "--objective=loss")
    assert "missing: --objective" in fails(capsys, *args)
    assert "give --direction" in fails(capsys, *args, "--objective=val/memorization")
    assert not sweep.out.exists()


SPACES = {
    "hello": "not a space. It needs a line for each option",
    "x: {low: 5}": "x: give a list of choices, or a range",
    "x: 5": "x: give a list of choices, or a range",
    "x: {low: 5, high: 2}": "low",
    "x: {low: 0, high: 2, log: true}": "low",
    "x: {low: a, high: 2}": "could not convert string to float: 'a'",
    "x: []": "x: ",
    "x: [": "while parsing a flow node",
    "xx: [1, 2]": "there is no option '--xx'. Did you mean --x?",
}


@pytest.mark.parametrize("text", SPACES)
def test_mistakes_in_a_space(text: str, sweep: Sweep, space: Path, capsys: Output) -> None:
    space.write_text(text)
    assert SPACES[text] in fails(capsys, *sweep.args(*flags(space, 3)))
    assert not sweep.out.exists()


def test_no_trial_with_a_value_is_an_error(sweep: Sweep, tmp_path: Path, capsys: Output) -> None:
    space = tmp_path / "space.yaml"
    space.write_text("x: [2]\n")
    line = fails(capsys, *sweep.args(*flags(space, 2, "--fails_if_x=2")))
    assert line.startswith("error: no trial has ended with a value.")
    assert [trial["state"] for trial in trials_of(sweep)] == ["fail", "fail"]


def test_two_processes_share_a_search(sweep: Sweep, space: Path) -> None:
    options = flags(space, 5, "--seconds=0.3")  # too few for the pruner
    processes = [sweep.start(*options) for _ in range(2)]
    printed = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], printed
    assert [len(sweep.calls(f"trial_{i}")) for i in range(5)] == [1] * 5
    assert not (sweep.out / "trial_5").exists()
    trials = trials_of(sweep)
    assert len({trial["x"] for trial in trials}) == 5
    assert {trial["state"] for trial in trials} == {"complete"}


def test_a_stopped_search_continues_its_trials(sweep: Sweep, space: Path) -> None:
    options = flags(space, 4, "--jobs=2", "--seconds=2")
    process = sweep.start(*options)
    wait_for(lambda: len(checkpoints(sweep)) == 2)
    os.killpg(process.pid, signal.SIGTERM)
    process.communicate(timeout=40)
    assert process.returncode == 75
    sweep.run(*options)
    for name in ("trial_0", "trial_1"):
        assert sweep.calls(name) == ["", str(sweep.out / name)]
    assert [trial["state"] for trial in trials_of(sweep)] == ["complete"] * 4


def test_a_search_folder_belongs_to_one_space(sweep: Sweep, space: Path, capsys: Output) -> None:
    sweep.run(*flags(space, 1))
    space.write_text("x: {low: -2, high: 3.0}\nlayers: [[1], [2, 2]]\nname: [a, b]\n")
    assert "differs in the space's x." in fails(capsys, *sweep.args(*flags(space, 2)))
    assert "another sweep" in fails(capsys, *sweep.args("--seeds=3"))


def test_the_objective_says_the_direction() -> None:
    assert checked("val/label_accuracy", None)[1] == "maximize"
    assert checked("val/frechet", None)[1] == checked("train/d_loss", None)[1] == "minimize"
    assert checked("val/mine", "maximize") == ("val/mine", "maximize")

"""`sweep` repeats a run with several seeds, or searches for the best setting."""

import csv
import json
import os
import pickle
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread

from commands import fit_processes
from commands.sweep import direction_of
from tests.commands.conftest import Sweep
from tests.conftest import ROOT
from tests.test_cli import fails, parsed, run


@pytest.fixture
def space(tmp_path):
    pytest.importorskip("optuna")
    file = tmp_path / "space.yaml"
    file.write_text("x: {low: -2, high: 2.0}\nlayers: [[1], [2, 2]]\nname: [a, b]\n")
    return file


extras = pytest.mark.extras  # imports Optuna


def flags(space: Path, trials: int, *others: str) -> list[str]:
    return [f"--space={space}", f"--trials={trials}", *others]


def test_seeds_and_their_table(sweep, capsys):
    sweep.run("--seeds=2")
    assert "seed_1 done\n" in capsys.readouterr().out
    sweep.run("--seeds", "3")
    printed = capsys.readouterr().out
    assert [len(sweep.calls(f"seed_{i}")) for i in range(3)] == [1, 1, 1]
    rows = {line.split()[0]: line.split()[1:] for line in printed.splitlines()}
    assert rows["seed_0"] == ["seed_1", "seed_2", "mean", "std"]
    assert rows["val/loss"] == ["0", "1", "4", "1.667", "2.082"]  # (0 + 1 + 4) / 3
    with (sweep.out / "comparison.csv").open(newline="") as file:
        assert [row["val/loss"] for row in csv.DictReader(file)] == ["0.0", "1.0", "4.0"]


def test_without_validation_the_table_is_of_training(sweep, tmp_path, capsys):
    root = f"--trainer.default_root_dir={tmp_path}/runs"
    run("sweep", f"--config={sweep.config}", "--seeds=1", root, "--metric=test/loss")
    printed = capsys.readouterr().out
    assert "train/loss" in printed
    assert "no validation split" in printed
    assert "test/loss" not in printed
    assert (tmp_path / "runs/some-sweep/seed_0/version_0/config.yaml").is_file()


@extras
def test_a_stopped_search_continues_its_trial(sweep, space):
    sweep.stop(signal.SIGTERM, "trial_0", *flags(space, 2))
    sweep.run(*flags(space, 2, "--seconds=2"))
    assert sweep.calls("trial_0") == ["", str(sweep.out / "trial_0")]
    assert [trial["state"] for trial in sweep.trials()] == ["complete"] * 2


@extras
def test_jobs_share_a_search(sweep, space):
    sweep.run(*flags(space, 5, "--seconds=0.3", "--jobs=3"))
    trials = sweep.trials()
    assert [trial["state"] for trial in trials] == ["complete"] * 5
    assert len({trial["x"] for trial in trials}) == 5
    assert [len(sweep.calls(f"trial_{i}")) for i in range(5)] == [1] * 5


@pytest.mark.parametrize(
    ("first", "options"),
    [("seed_0", ["--seeds=1"]), pytest.param("trial_0", ["--trials=1"], marks=extras)],
)
def test_a_process_says_which_runs_another_one_trains(first, options, sweep, tmp_path, capsys):
    if first == "trial_0":
        pytest.importorskip("optuna")
        (tmp_path / "space.yaml").write_text("x: [1, 2]\n")
        options = [*options, f"--space={tmp_path / 'space.yaml'}"]
    sweep.stop(signal.SIGTERM, first, *options)
    claimed = fit_processes.lock_run(sweep.out / first)
    with claimed:
        sweep.run(*options, "--seconds=2")
    line = f"Another process trains {first}. The last to end prints the whole table.\n"
    assert capsys.readouterr().out == line


@extras
def test_two_processes_share_a_search(sweep, space):
    options = flags(space, 5, "--seconds=0.3")  # too few for the pruner
    processes = [sweep.start(*options) for _ in range(2)]
    printed = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], printed
    assert [len(sweep.calls(f"trial_{i}")) for i in range(5)] == [1] * 5
    assert not (sweep.out / "trial_5").exists()
    trials = sweep.trials()
    assert len({trial["x"] for trial in trials}) == 5
    assert {trial["state"] for trial in trials} == {"complete"}


MISTAKES = {
    "": "give --seeds N to repeat a run, or --space FILE to search for the best",
    "--seeds=2 --space=x.yaml": "give --seeds N to repeat a run, or",
    "--seeds=2 --ckpt_path=last": "--ckpt_path is set by sweep for each run: leave it out.",
    "--seeds=2 --seed_everything=1": "--seed_everything is set by sweep for each run",
    "--seeds=2 --y=1": "there is no option '--y'. Did you mean --x?",  # says the first run
}


@pytest.mark.parametrize("options", MISTAKES)
def test_mistakes_are_one_line_and_leave_nothing(options, sweep, capsys):
    assert MISTAKES[options] in fails(capsys, *sweep.args(*options.split()))
    assert not sweep.out.exists()


def test_a_file_is_no_folder_for_a_sweep(sweep, capsys):
    sweep.out.touch()
    line = fails(capsys, *sweep.args("--seeds=2"))
    assert line.startswith(f"error: --out {sweep.out}: cannot be written to (File exists).")


def test_a_config_is_needed(capsys):
    assert fails(capsys, "sweep", "--seeds=2").startswith("error: missing: --config.")


def test_a_mistake_removes_nothing_that_was_there(sweep, capsys):
    sweep.out.mkdir()
    (sweep.out / "thesis.tex").touch()
    fails(capsys, *sweep.args("--seeds=1", "--y=1"))
    assert (sweep.out / "thesis.tex").exists()


@pytest.mark.parametrize(
    "text", ['{"fit": ["--conf', "[1]", "5", "null", "{}", "\0\0", '{"fit": 5}']
)
def test_damaged_settings_are_refused_and_kept(text, sweep, capsys):
    sweep.out.mkdir()
    (sweep.out / "sweep.json").write_text(text)
    assert "give another folder with --out" in fails(capsys, *sweep.args("--seeds=1"))
    assert (sweep.out / "sweep.json").read_text() == text
    assert not (sweep.out / "seed_0").exists()


@extras
def test_a_folder_belongs_to_one_sweep(sweep, space, capsys):
    sweep.run(*flags(space, 1, "--x=2"))
    for options in (flags(space, 1, "--x=3"), flags(space, 1), ["--seeds=1", "--x=2"]):
        assert "is a sweep of other settings" in fails(capsys, *sweep.args(*options))
    space.write_text("x: {low: -2, high: 3.0}\n")
    assert "is a sweep of other" in fails(capsys, *sweep.args(*flags(space, 1, "--x=2")))
    assert len(sweep.calls("trial_0")) == 1


def journal_with(folder: Path, *logs: dict[str, Any], direction: int = 1) -> Path:
    """Writes a journal of a study with more log entries, as anybody can."""
    study = {"op_code": 0, "worker_id": "w", "study_name": "sweep", "directions": [direction]}
    folder.mkdir(exist_ok=True)
    file = folder / "study.journal"
    file.write_text("".join(f"{json.dumps(log)}\n" for log in (study, *logs)))
    return file


def trial_with(params: dict[str, Any], state: int = 0, **more: Any) -> dict[str, Any]:
    """Returns the log entry of a trial, each of whose options has one possible value."""
    choices = {
        name: json.dumps({"name": "CategoricalDistribution", "attributes": {"choices": [value]}})
        for name, value in params.items()
    }
    return {
        "op_code": 4, "worker_id": "w", "study_id": 0, "datetime_start": "2026-12-01T00:00:00",
        "distributions": choices, "params": dict.fromkeys(params, 0), "state": state,
    } | more  # fmt: skip


DONE = {"state": 1, "datetime_complete": "2026-12-01T00:00:00"}
FLOAT = json.dumps({"name": "FloatDistribution", "attributes": {"low": -9, "high": 9}})
HOSTILE_JOURNALS = {
    "option": [trial_with({"model.network": "evil.X"})],
    "option of a trial that has ended": [trial_with({"model.network": "evil.X"}, **DONE, value=0)],
    "value": [trial_with({"x": "evil.X"})],
    "value outside": [trial_with({"x": 5})],
    "choice": [trial_with({"name": "evil.X"})],
    "choice of another type": [trial_with({"layers": [1]})],
    "text for a number": [
        trial_with({}) | {"distributions": {"x": FLOAT}, "params": {"x": "evil.X"}}
    ],
    "enqueued": [trial_with({}, 4, system_attrs={"fixed_params": {"name": "evil.X"}})],
    "enqueued number": [trial_with({}, 4, system_attrs={"fixed_params": {"x": 10}})],
    "score of text": [trial_with({"x": 1.0}, **DONE, value="\x1b[2J")],
    "two scores": [trial_with({"x": 1.0}, **DONE, values=[1, 2])],
    "no score": [trial_with({"x": 1.0}, **DONE)],
    "step of text": [trial_with({}), {"op_code": 7, "worker_id": "w", "trial_id": 0, "step": "a",
                                      "intermediate_value": 1.0}],
    "curve of text": [trial_with({}, intermediate_values={"1": "a"})],
    "no entry": [[1, 2]],
    "unknown entry": [{"op_code": 99}],
    "deep": [json.loads("[" * 900 + "]" * 900)],
    "foreign class": [trial_with({}) | {"distributions": {"x": '{"name": "evil.X"}'}}],
    "other direction": [],
}  # fmt: skip


@extras
@pytest.mark.parametrize("what", HOSTILE_JOURNALS)
def test_a_foreign_journal_gives_fit_no_options(what, sweep, space, capsys):
    """Only options of the space count, with values from it. Before, a trial could name any."""
    sweep.run(*flags(space, 1))
    capsys.readouterr()
    journal_with(sweep.out, *HOSTILE_JOURNALS[what], direction=2 if "direction" in what else 1)
    shutil.rmtree(sweep.out / "trial_0")
    line = fails(capsys, *sweep.args(*flags(space, 1)))
    assert line.endswith("give another folder with --out")
    assert f"{sweep.out / 'study.journal'} is no study of this sweep (" in line
    assert "\x1b" not in line
    assert not (sweep.out / "trial_0" / "calls").exists()


DAMAGE = {
    "a letter in a name": lambda text: text.replace(b"trial_id", b"trial_ie", 1),
    "a bracket": lambda text: text[:900] + text[900:].replace(b"{", b"[", 1),
    "zeros in place of a trial": lambda text: text.replace(b'"op_code":4', b"\0" * 11, 1),
    "zeros in place of a value": lambda text: text.replace(b'"op_code":5', b"\0" * 11, 1),
    "another value": lambda text: text.replace(b'_internal":', b'_internal":0.1e-', 1),
    "no last lines": lambda text: b"".join(text.splitlines(keepends=True)[:12]),
    "nothing": lambda text: b"",
}


@extras
@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_study_keeps_its_finished_trials(what, sweep, space, capsys):
    options, journal = flags(space, 3, "--seconds=0.1"), sweep.out / "study.journal"
    sweep.run(*options)
    whole, columns = sweep.trials(), ("trial", "state", "val/loss", "x", "layers", "name")
    journal.write_bytes(DAMAGE[what](damaged := journal.read_bytes()))
    assert journal.read_bytes() != damaged
    if what not in ("no last lines", "nothing"):
        line = fails(capsys, *sweep.args(*options))
        assert "remove it, so that the same command makes it anew from its trials' folders" in line
        journal.unlink()
    sweep.run("--trials=4", *options[:1], *options[2:])
    for before, after in zip(whole, sweep.trials(), strict=False):
        assert [before[name] for name in columns] == [after[name] for name in columns]
    assert [len(sweep.calls(f"trial_{k}")) for k in range(4)] == [1] * 4


FOREIGN_PARAMS = {
    "option": '{"model.network": "evil.X"}',
    "choice": '{"name": "evil.X"}',
    "value outside": '{"x": 5}',
    "text for a number": '{"x": "evil.X"}',
    "list": "[1]",
}


@extras
@pytest.mark.parametrize("what", FOREIGN_PARAMS)
@pytest.mark.parametrize("name", ["trial_0", "trial_3"])
def test_foreign_values_in_a_folder_give_fit_no_options(name, what, sweep, space, capsys):
    sweep.run(*flags(space, 1))
    capsys.readouterr()
    (sweep.out / "study.journal").unlink()
    (sweep.out / name / "version_0" / "checkpoints").mkdir(parents=True, exist_ok=True)
    (sweep.out / name / "version_0" / "checkpoints" / "last.ckpt").touch()
    (sweep.out / name / "params.json").write_text(FOREIGN_PARAMS[what])
    line = fails(capsys, *sweep.args(*flags(space, 1)))
    assert str(sweep.out) in line
    assert not (sweep.out / "trial_3" / "calls").exists()
    assert sweep.calls("trial_0") == [""]


@extras
def test_a_journal_of_another_kind_is_one_line(sweep, space, capsys):
    sweep.run(*flags(space, 1))
    journal, lock = sweep.out / "study.journal", sweep.out / "study.journal.lock"
    for make in (
        lambda: journal.write_bytes(pickle.dumps({"op_code": 0})),
        lambda: os.truncate(journal, 3_000_000_000),
        lambda: (journal.unlink(), journal.symlink_to("trial_0")),
        lambda: (journal.unlink(), os.mkfifo(journal)),
    ):
        make()
        assert "give another folder" in fails(capsys, *sweep.args(*flags(space, 1)))
    journal.unlink()
    lock.symlink_to("nothing")  # for which Optuna waits without an end
    sweep.run(*flags(space, 1))


def test_a_missing_optuna_is_one_line(sweep, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    line = fails(capsys, *sweep.args("--space=x.yaml"))
    assert line == 'error: --space needs Optuna: pip install -e ".[sweep]"'


@extras
def test_a_search_that_is_continued_is_the_same(sweep, space, tmp_path, capsys):
    """12 trials: TPE chooses the first ten at random."""
    sweep.run(*flags(space, 3))
    sweep.run(*flags(space, 12))
    printed, trials = capsys.readouterr().out, sweep.trials()
    (tmp_path / "whole").mkdir()
    whole = Sweep(tmp_path / "whole")
    whole.run(*flags(space, 12))
    assert [trial["x"] for trial in trials] == [trial["x"] for trial in whole.trials()]
    assert len({trial["x"] for trial in trials}) == 12
    assert [float(t["val/loss"]) for t in trials] == [float(t["x"]) ** 2 for t in trials]
    best = min(trials, key=lambda trial: float(trial["val/loss"]))
    assert f"The best again: python cli.py fit --config {sweep.config} --x={best['x']} " in printed
    rows = [line.split() for line in printed.partition("trial_11 done\n")[2].splitlines()]
    assert {*rows[0]} == {"trial", "val/loss", "x", "layers", "name"}
    assert rows[1][0] == best["trial"]
    for name in ("trials.png", "slices.png"):
        assert imread(sweep.out / name).shape[0] > 50


@extras
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_failing_trial_is_recorded_and_the_same_command_tries_others(jobs, sweep, space, capsys):
    space.write_text("x: [1, 2]\n")
    options, states = flags(space, 6, "--fails_if_x=2"), ["fail"]
    line = fails(capsys, *sweep.args(*options, f"--jobs={jobs}"), code=1)
    assert len(first := sweep.trials()) == 6
    assert {(t["x"], t["state"]) for t in first} == {("1", "complete"), ("2", "fail")}
    missing = sum(trial["state"] == "fail" for trial in first)
    assert f"{missing} of 6 trials have failed. The same command trains what is missing." in line
    while missing:
        with suppress(SystemExit):
            sweep.run(*options)
        states = [trial["state"] for trial in sweep.trials()]
        assert len(states) - len(first) <= missing
        first, missing = sweep.trials(), 6 - states.count("complete")
    assert states.count("complete") == 6


@extras
def test_a_trial_that_was_killed_continues(sweep, space, capsys):
    """For example by the system, whose memory was full. The sweep goes on."""
    options = flags(space, 2, "--killed_once=trial_0", "--seconds=0.2")
    line = fails(capsys, *sweep.args(*options), code=1)
    assert "1 of 2 trials have failed" in line
    assert [trial["state"] for trial in sweep.trials()] == ["running", "complete"]
    sweep.run(*options)
    assert sweep.calls("trial_0") == ["", str(sweep.out / "trial_0")]
    assert [trial["state"] for trial in sweep.trials()] == ["complete"] * 2


@extras
@pytest.mark.skipif(sys.platform != "linux", reason="a child ends with its parent on Linux")
@pytest.mark.parametrize(("saves", "jobs"), [(True, 1), (True, 2), (False, 1)])
def test_a_killed_search_loses_and_doubles_no_trial(saves, jobs, sweep, space):
    """A trial that has saved continues. Another one takes the place of one that has not."""
    options = flags(space, 3, f"--jobs={jobs}", "--saving=0.3")
    sweep.stop(signal.SIGKILL, f"trial_{jobs - 1}", *options)
    if not saves:
        while "stopped" not in (sweep.out / "trial_0" / "log.txt").read_text():
            time.sleep(0.02)
        shutil.rmtree(sweep.out / "trial_0" / "version_0" / "checkpoints")
    sweep.run(*options, "--seconds=2")
    trials = sweep.trials()
    assert [t["state"] for t in trials] == ["fail"] * (not saves) + ["complete"] * 3
    assert sweep.calls("trial_0") == ["", str(sweep.out / "trial_0")][: 1 + saves]
    assert sweep.calls(f"trial_{len(trials) - 1}") == [""]
    for trial in trials[not saves :]:
        assert float(trial["val/loss"]) == float(trial["x"]) ** 2


@extras
def test_a_trial_with_half_of_its_values_is_replaced(sweep, space):
    """As after a crash between two entries of the journal."""
    sweep.run(*flags(space, 1))
    journal_with(sweep.out, trial_with({"name": "a"}) | {"distributions": {
        "name": json.dumps({"name": "CategoricalDistribution", "attributes": {"choices": "ab"}})
    }})  # fmt: skip
    shutil.rmtree(sweep.out / "trial_0")
    sweep.run(*flags(space, 1))
    assert [trial["state"] for trial in sweep.trials()] == ["fail", "complete"]
    assert not (sweep.out / "trial_0" / "calls").exists()


@extras
def test_a_trial_that_is_worse_than_the_median_is_stopped(sweep, space):
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    space.write_text("x: {low: 1, high: 2}\n")
    backend = JournalFileBackend(str(journal_with(sweep.out)))
    study = optuna.load_study(study_name="sweep", storage=JournalStorage(backend))
    saved = sweep.out / "trial_{}/version_0/checkpoints/last.ckpt"

    def ask(x: int) -> None:  # as a process that was killed
        number = study.ask({"x": optuna.distributions.IntDistribution(x, x)}).number
        Path(str(saved).format(number)).parent.mkdir(parents=True)
        Path(str(saved).format(number)).touch()

    for _ in range(5):
        ask(1)
    sweep.run(*flags(space, 5, "--seconds=0.5"))
    ask(2)
    assert [trial.intermediate_values for trial in study.trials] == [{0: 1.0}] * 5 + [{}]
    sweep.run(*flags(space, 6, "--seconds=0.5"))
    assert [trial["state"] for trial in sweep.trials()] == ["complete"] * 5 + ["pruned"]


@extras
@pytest.mark.parametrize("jobs", [1, 2])
def test_an_objective_that_is_not_logged_ends_the_search(jobs, sweep, space, capsys, recwarn):
    options = flags(space, 5, "--metric=val/accuracy", f"--jobs={jobs}", "--seconds=0.2")
    line = fails(capsys, *sweep.args(*options))
    assert line.startswith(
        "error: --objective val/loss: the first run logged train/loss, val/accuracy: give one of"
    )
    begun = [*sweep.out.glob("trial_*")]
    assert 1 <= len(begun) <= jobs
    assert all((run / "done").exists() for run in begun)
    assert not [warning for warning in recwarn if "trial" in str(warning.message).lower()]
    line = fails(capsys, *sweep.args(*options, "--objective=val/accuracy"))
    assert line.endswith("give another folder with --out")


@extras
def test_a_wrong_objective_begins_nothing(sweep, space, capsys):
    args = sweep.args(f"--space={space}")
    assert "must not see the test set" in fails(capsys, *args, "--objective=test/loss")
    assert "give --direction" in fails(capsys, *args, "--objective=val/memorization")
    assert not sweep.out.exists()


SPACES = {
    "hello": "Write a line for each option",
    "x: {low: 5}": "high",
    "x: {low: a, high: 2}": "could not convert string to float: 'a'",
    "x: [": ":2: not valid YAML",
    "a0: &a0 [1]\n"
    + "".join(f"a{k}: &a{k} [*a{k - 1}, *a{k - 1}]\n" for k in range(1, 30)): "aliases",
    "xx: [1, 2]": "there is no option '--xx'. Did you mean --x?",
}


@extras
@pytest.mark.parametrize("text", SPACES)
def test_mistakes_in_a_space(text, sweep, space, capsys):
    space.write_text(text)
    assert SPACES[text] in fails(capsys, *sweep.args(*flags(space, 3)))
    assert not sweep.out.exists()


@extras
def test_the_objective_says_the_direction():
    assert direction_of("val/label_accuracy", None) == "maximize"
    assert direction_of("val/frechet", None) == direction_of("train/d_loss", None) == "minimize"
    assert direction_of("val/mine", "maximize") == "maximize"


@extras
@pytest.mark.slow
def test_a_search_of_a_real_config_and_its_best_command(tmp_path, in_root, capsys):
    out, space = tmp_path / "out", tmp_path / "space.yaml"
    space.write_text("model.optimizer.lr: {low: 0.01, high: 0.1}\n")
    search = [f"--space={space}", "--trials=2", f"--out={out}"]
    run("sweep", "--config=configs/gates.yaml", "--trainer.max_epochs=60", *search)
    words = shlex.split(
        capsys.readouterr().out.partition("The best again: python cli.py ")[2].splitlines()[0]
    )
    with (out / "trials.csv").open(newline="") as file:
        best = min(csv.DictReader(file), key=lambda trial: float(trial["val/loss"]))
    used = parsed(*words).config.fit.model.init_args.optimizer
    assert used.init_args.lr == float(best["model.optimizer.lr"])


@extras
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a child ends with its parent on Linux")
@pytest.mark.parametrize("moment", ["log.txt", "*/checkpoints/*.ckpt"])
def test_a_killed_search_of_a_real_config(moment, tmp_path):
    """Also while the run still imports. The repeated command trains each trial once."""
    out, space = tmp_path / "out", tmp_path / "space.yaml"
    space.write_text("model.optimizer.lr: {low: 0.01, high: 0.1}\n")
    options = ["--config=configs/iris.yaml", "--data.val_fraction=0.2", "--trainer.max_epochs=300"]
    search = [f"--space={space}", "--trials=2", f"--out={out}"]
    command = [sys.executable, "cli.py", "sweep", *options, *search]
    killed = subprocess.Popen(command, cwd=ROOT)
    while not any((out / "trial_0").glob(moment)):
        time.sleep(0.02)
    killed.kill()
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    with (out / "trials.csv").open(newline="") as file:
        trials = list(csv.DictReader(file))
    assert [t["state"] for t in trials if t["state"] != "fail"] == ["complete"] * 2
    assert len(trials) == 2 or moment == "log.txt"  # it may have ended before it could save
    for trial in trials:
        versions = [*(out / f"trial_{trial['trial']}").glob("version_*")]
        assert len(versions) == (trial["state"] == "complete")

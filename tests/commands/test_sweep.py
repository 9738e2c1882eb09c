"""`sweep` trains each run once, also if it is stopped in between, and shares its runs."""

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
from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread

from commands import sweep as command
from commands.sweep import SAVED_EXIT_CODE, direction_of
from runtime.preemption import SAVED_EXIT_CODE as EXIT_CODE_OF_FIT
from tests.conftest import ROOT
from tests.test_cli import fails, parsed, run

FAKE = Path(__file__).parent / "fake_fit.py"
OTHER_PROCESS = (
    "import sys, cli; from pathlib import Path; from commands import sweep; "
    "sweep.CLI = Path(sys.argv.pop(1)); cli.main(sys.argv[1:])"
)
Output = pytest.CaptureFixture[str]


class Sweep:
    """A folder for a sweep of a fake `fit`, and a config file."""

    def __init__(self, folder: Path) -> None:
        self.out, self.config = folder / "out", folder / "some.yaml"
        self.config.write_text("{}\n")

    def args(self, *options: str) -> list[str]:
        return ["sweep", "--config", str(self.config), "--out", str(self.out), *options]

    def run(self, *options: str) -> None:
        run(*self.args(*options))

    def start(self, *options: str) -> "subprocess.Popen[str]":
        """Starts a sweep in a process group of its own."""
        command = [sys.executable, "-c", OTHER_PROCESS, str(FAKE), *self.args(*options)]
        return subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            process_group=0,
        )  # fmt: skip

    def calls(self, name: str) -> list[str]:
        """The `--ckpt_path` of each call of `fit` for a run."""
        return (self.out / name / "calls").read_text().split("\n")[:-1]

    def trials(self) -> list[dict[str, str]]:
        with (self.out / "trials.csv").open(newline="") as file:
            return list(csv.DictReader(file))


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "CLI", FAKE)
    monkeypatch.setattr(command, "POLL_SECONDS", 0.05)
    return Sweep(tmp_path)


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


def test_a_failed_run_ends_nothing_and_is_tried_again(sweep, capsys):
    for tries in (1, 2):
        with pytest.raises(SystemExit) as ended:
            sweep.run("--seeds=3", "--fails_if_x=1")
        assert ended.value.code == 1
        printed = capsys.readouterr().out
        log = sweep.out / "seed_1" / "log.txt"
        assert f"RuntimeError: out of luck (log: {log})\nseed_1 failed" in printed
        assert "mean" in printed
        assert len(sweep.calls("seed_1")) == tries
        assert len(sweep.calls("seed_2")) == 1
        assert "Traceback" in log.read_text()


def stopped(sweep: Sweep, signum: signal.Signals, first: str, *options: str) -> str:
    """Starts a sweep, sends a signal to the first run, and returns what it has printed."""
    process = sweep.start(*options, "--seconds=2")
    end = time.monotonic() + 60
    while not list(sweep.out.glob(f"{first}/*/checkpoints/*.ckpt")):
        assert time.monotonic() < end
        time.sleep(0.02)
    os.killpg(process.pid, signum) if signum is signal.SIGINT else process.send_signal(signum)
    printed = process.communicate(timeout=40)[0]
    assert process.returncode == SAVED_EXIT_CODE == EXIT_CODE_OF_FIT, printed
    return printed


@pytest.mark.parametrize("options", [[], ["--init_from", "run"], ["--init_from=run"]])
def test_a_stopped_sweep_continues(options, sweep):
    """In a terminal, Ctrl-C goes to the whole process group."""
    assert "seed_0 stopped" in stopped(sweep, signal.SIGINT, "seed_0", "--seeds=2", *options)
    assert not (sweep.out / "seed_1").exists()
    sweep.run("--seeds=2", *options, "--seconds=2")
    assert (sweep.out / "seed_0" / "log.txt").read_text() == "started\ncontinued\n"
    assert sweep.calls("seed_0") == ["", str(sweep.out / "seed_0")]
    assert sweep.calls("seed_1") == [""]


@extras
def test_a_stopped_search_continues_its_trial(sweep, space):
    stopped(sweep, signal.SIGTERM, "trial_0", *flags(space, 2))
    sweep.run(*flags(space, 2, "--seconds=2"))
    assert sweep.calls("trial_0") == ["", str(sweep.out / "trial_0")]
    assert [trial["state"] for trial in sweep.trials()] == ["complete"] * 2


def test_jobs_train_at_once(sweep, capsys):
    sweep.run("--seeds=3", "--jobs=2", "--seconds=1")
    printed = capsys.readouterr().out
    assert [len(sweep.calls(f"seed_{i}")) for i in range(3)] == [1] * 3
    assert sorted(printed.splitlines()[:2]) == ["seed_0 started", "seed_1 started"]
    assert printed.count("mean") == 1
    started = [(sweep.out / f"seed_{i}/environment.json").stat().st_mtime for i in range(3)]
    assert abs(started[1] - started[0]) < 0.9 < started[2] - min(started)


def test_a_failed_run_among_jobs_is_tried_once(sweep):
    with pytest.raises(SystemExit) as ended:
        sweep.run("--seeds=4", "--jobs=2", "--fails_if_x=1")
    assert ended.value.code == 1
    assert [len(sweep.calls(f"seed_{i}")) for i in range(4)] == [1] * 4


def test_a_mistake_among_jobs_is_one_line(sweep, capsys):
    line = fails(capsys, *sweep.args("--seeds=4", "--jobs=2", "--refused=true"))
    assert "no option '--refused'" in line
    assert not sweep.out.exists()


def test_stopped_jobs_go_on(sweep):
    printed = stopped(sweep, signal.SIGTERM, "seed_1", "--seeds=3", "--jobs=2")
    assert {"seed_0 stopped", "seed_1 stopped"} <= {
        line.split(".")[0] for line in printed.splitlines()
    }
    sweep.run("--seeds=3", "--jobs=2", "--seconds=2")
    assert [len(sweep.calls(f"seed_{i}")) for i in range(3)] == [2, 2, 1]


@pytest.mark.parametrize(
    ("visible", "devices", "expected"),
    [(None, 2, {"0", "1"}), ("3,5", 2, {"3", "5"}), (None, 1, {"0"}), (None, 0, {None})],
)
def test_each_job_has_its_gpu_and_its_cores(visible, devices, expected, sweep, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: devices)
    monkeypatch.setattr(command, "allowed_cores", lambda: 7)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    sweep.run("--seeds=2", "--jobs=2", "--seconds=0.5")
    found = [json.loads((sweep.out / f"seed_{i}/environment.json").read_text()) for i in (0, 1)]
    assert {given["CUDA_VISIBLE_DEVICES"] for given in found} == expected
    assert {given["OMP_NUM_THREADS"] for given in found} == {"3"}


@extras
def test_jobs_share_a_search(sweep, space):
    sweep.run(*flags(space, 5, "--seconds=0.3", "--jobs=3"))
    trials = sweep.trials()
    assert [trial["state"] for trial in trials] == ["complete"] * 5
    assert len({trial["x"] for trial in trials}) == 5
    assert [len(sweep.calls(f"trial_{i}")) for i in range(5)] == [1] * 5


def test_two_processes_train_no_run_twice(sweep):
    processes = [sweep.start("--seeds=4", "--seconds=0.3") for _ in range(2)]
    printed = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], printed
    assert [len(sweep.calls(f"seed_{i}")) for i in range(4)] == [1] * 4
    assert any("mean" in text for text in printed)


@pytest.mark.parametrize(
    ("first", "options"),
    [("seed_0", ["--seeds=1"]), pytest.param("trial_0", ["--trials=1"], marks=extras)],
)
def test_a_process_says_which_runs_another_one_trains(first, options, sweep, tmp_path, capsys):
    if first == "trial_0":
        pytest.importorskip("optuna")
        (tmp_path / "space.yaml").write_text("x: [1, 2]\n")
        options = [*options, f"--space={tmp_path / 'space.yaml'}"]
    stopped(sweep, signal.SIGTERM, first, *options)
    claimed = command.lock_run(sweep.out / first)
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


@pytest.mark.parametrize("link", ["seed_0", "seed_0/log.txt"])
def test_a_link_out_of_a_sweep_is_refused(link, sweep, tmp_path, capsys):
    (sweep.out / link).parent.mkdir(parents=True)
    (sweep.out / link).symlink_to(tmp_path / "elsewhere")
    line = fails(capsys, *sweep.args("--seeds=1"))
    assert line.startswith(f"error: {sweep.out / link} is a link to {tmp_path / 'elsewhere'}")
    assert not (tmp_path / "elsewhere").exists()


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
def test_a_failing_trial_is_recorded(sweep, space, capsys):
    space.write_text("x: [1, 2]\n")
    sweep.run(*flags(space, 6, "--fails_if_x=2"))
    assert {(t["x"], t["state"]) for t in sweep.trials()} == {("1", "complete"), ("2", "fail")}
    assert len(sweep.trials()) == 6
    assert "RuntimeError: out of luck (log: " in capsys.readouterr().out


@extras
def test_a_trial_that_is_worse_than_the_median_is_stopped(sweep, space):
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    space.write_text("x: {low: 1, high: 2}\n")
    backend = JournalFileBackend(str(journal_with(sweep.out)))
    study = optuna.load_study(study_name="sweep", storage=JournalStorage(backend))
    for x in (1, 1, 1, 1, 1, 2):  # by a process that was killed
        study.ask({"x": optuna.distributions.IntDistribution(x, x)})
    sweep.run(*flags(space, 5, "--seconds=0.5"))
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

"""`sweep` trains each run once, also if it is stopped in between, and shares them."""

import csv
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from commands import sweep_runs
from commands.sweep_runs import TRY_AGAIN, environment
from runtime import cpu
from runtime.preemption import TRY_AGAIN as EXIT_CODE_OF_FIT
from tests.commands.sweeps import Sweep, fake_sweep
from tests.conftest import ROOT
from tests.test_cli import fails, parsed, run

sweep = pytest.fixture(fake_sweep)
Output = pytest.CaptureFixture[str]


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 40
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def checkpoints(sweep: Sweep) -> list[Path]:
    return list(sweep.out.glob("*/*/checkpoints/*.ckpt"))


def test_seeds_and_their_table(sweep: Sweep, capsys: Output) -> None:
    sweep.run("--seeds=2", "--jobs", "2")
    assert "seed_1 done\n" in capsys.readouterr().out
    sweep.run("--seeds", "3", "--jobs", "2")
    printed = capsys.readouterr().out
    assert "seed_0 skipped: done already" in printed
    assert [len(sweep.calls(f"seed_{i}")) for i in range(3)] == [1, 1, 1]
    rows = {line.split()[0]: line.split()[1:] for line in printed.splitlines()}
    assert rows["seed_0"] == ["seed_1", "seed_2", "mean", "std"]
    assert rows["val/loss"] == ["0", "1", "4", "1.667", "2.082"]  # (0 + 1 + 4) / 3
    with (sweep.out / "comparison.csv").open(newline="") as file:
        assert [row["val/loss"] for row in csv.DictReader(file)] == ["0.0", "1.0", "4.0"]


def test_a_failed_run_ends_nothing_and_is_tried_again(sweep: Sweep, capsys: Output) -> None:
    for tries in (1, 2):
        with pytest.raises(SystemExit) as ended:
            sweep.run("--seeds=3", "--fails_if_x=1")
        assert ended.value.code == 1
        printed = capsys.readouterr().out
        log = sweep.out / "seed_1" / "log.txt"
        assert f"seed_1 failed: RuntimeError: out of luck (log: {log})" in printed
        assert "mean" in printed
        assert "1 of 3 runs failed: seed_1. The same command tries them again." in printed
        assert len(sweep.calls("seed_1")) == tries
        assert len(sweep.calls("seed_2")) == 1
        assert "Traceback" in log.read_text()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_a_stopped_sweep_goes_on(signum: signal.Signals, sweep: Sweep) -> None:
    """In a terminal, Ctrl-C goes to the whole process group."""
    options = ["--seeds=3", "--jobs=2", "--seconds=2"]
    process = sweep.start(*options)
    wait_for(lambda: len(checkpoints(sweep)) == 2)
    os.killpg(process.pid, signum)
    printed = process.communicate(timeout=40)[0]
    assert process.returncode == TRY_AGAIN == EXIT_CODE_OF_FIT
    assert "Stopping, when 2 runs have saved." in printed
    assert "seed_1 stopped" in printed
    assert not (sweep.out / "seed_2").exists()
    sweep.run(*options)
    for name in ("seed_0", "seed_1"):
        assert sweep.calls(name) == ["", str(sweep.out / name)]
    assert sweep.calls("seed_2") == [""]


def test_two_processes_train_no_run_twice(sweep: Sweep) -> None:
    processes = [sweep.start("--seeds=6", "--seconds=0.3") for _ in range(2)]
    printed = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], printed
    assert [len(sweep.calls(f"seed_{i}")) for i in range(6)] == [1] * 6
    assert any("mean" in text for text in printed)


def test_jobs_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert [environment(jobs)["OMP_NUM_THREADS"] for jobs in (1, 3, 9)] == ["8", "2", "1"]
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert "OMP_NUM_THREADS" not in environment(1)
    monkeypatch.setattr(cpu, "allowed_cores", lambda: 6)  # also of a container with more cores
    assert environment(2)["OMP_NUM_THREADS"] == "3"


def test_scores_of_training_without_validation_are_called_so(sweep: Sweep, capsys: Output) -> None:
    sweep.run("--seeds=1", "--metric=test/loss")
    printed = capsys.readouterr().out
    assert "No validation scores were logged." in printed
    assert re.search(r"train/loss +0.5", printed)
    assert not re.search(r"^test/", printed, re.MULTILINE)


MISTAKES = {
    "": "give --seeds N, which repeats one setting, or --space FILE, which searches for the best",
    "--seeds=2 --space=x.yaml": "both are given.",
    "--seeds=2 --ckpt_path=last": "--ckpt_path is set by sweep for each run: leave it out.",
    "--seeds=2 --seed_everything=1": "--seed_everything is set by sweep for each run",
    "--seeds=2 --y=1": "there is no option '--y'. Did you mean --x?",  # says the first run
}


@pytest.mark.parametrize("options", MISTAKES)
def test_mistakes_are_one_line_and_leave_nothing(
    options: str, sweep: Sweep, capsys: Output
) -> None:
    assert MISTAKES[options] in fails(capsys, *sweep.args(*options.split()))
    assert not sweep.out.exists()


def test_a_config_is_needed(capsys: Output) -> None:
    assert fails(capsys, "sweep", "--seeds=2").startswith("error: missing: --config.")


def test_a_folder_belongs_to_one_sweep(sweep: Sweep, capsys: Output) -> None:
    sweep.run("--seeds=1", "--x=2")
    for options in (["--x=3"], []):
        line = fails(capsys, *sweep.args("--seeds=1", *options))
        assert f"{sweep.out} belongs to another sweep, which differs in options of fit." in line
    assert len(sweep.calls("seed_0")) == 1


def test_a_mistake_removes_nothing_that_was_there(sweep: Sweep, capsys: Output) -> None:
    sweep.out.mkdir()
    (sweep.out / "thesis.tex").touch()
    fails(capsys, *sweep.args("--seeds=1", "--y=1"))
    assert (sweep.out / "thesis.tex").exists()


def test_the_folder_has_the_name_of_the_experiment(sweep: Sweep, tmp_path: Path) -> None:
    root = f"--trainer.default_root_dir={tmp_path}/runs"
    run("sweep", f"--config={sweep.config}", "--seeds=1", root)
    assert (tmp_path / "runs/some-sweep/seed_0/version_0/config.yaml").is_file()


def test_a_missing_optuna_is_one_line(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    line = fails(capsys, *sweep.args("--space=x.yaml", "--objective=val/loss"))
    assert line == 'error: --space needs Optuna: pip install -e ".[sweep]"'


@pytest.mark.extras
@pytest.mark.slow
def test_a_search_of_a_real_config_and_its_best_command(
    tmp_path: Path, in_root: Path, capsys: Output
) -> None:
    assert sweep_runs.CLI == ROOT / "cli.py"
    out, space = tmp_path / "out", tmp_path / "space.yaml"
    space.write_text("model.optimizer.lr: {low: 0.01, high: 0.1}\n")
    search = [f"--space={space}", "--trials=2", "--objective=val/loss", f"--out={out}", "--jobs=2"]
    run("sweep", "--config=configs/gates.yaml", "--trainer.max_epochs=60", *search)
    printed = capsys.readouterr().out
    assert "2 complete" in printed
    words = shlex.split(printed.partition("The best again: python cli.py ")[2].splitlines()[0])
    with (out / "trials.csv").open(newline="") as file:
        best = min(csv.DictReader(file), key=lambda trial: float(trial["val/loss"]))
    used = parsed(*words).config.fit.model.init_args.optimizer
    assert used.init_args.lr == float(best["model.optimizer.lr"])

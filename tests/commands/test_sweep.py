"""`sweep --seeds` trains each seed once, also if it is stopped in between."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.image import imread

from commands import sweep_runs
from commands.sweep_folder import by_name
from commands.sweep_runs import TRY_AGAIN, Run, environment, run_folder
from runtime import cpu
from runtime.preemption import TRY_AGAIN as EXIT_CODE_OF_FIT
from tests.commands.sweeps import Sweep, fake_sweep
from tests.conftest import ROOT
from tests.test_cli import fails, run

sweep = pytest.fixture(fake_sweep)


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_seeds_and_their_table(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    sweep.run("--seeds", "3", "--first_seed=1", "--jobs", "2")
    printed = capsys.readouterr().out
    assert re.search(r"seed_2 done after \d+ s: val/loss 4\n", printed)
    rows = [line.split() for line in printed.splitlines()]
    assert ["run", "seed_everything", "val/loss"] in rows
    assert ["seed_1", "1", "1"] in rows
    assert ["mean", "4.667"] in rows  # (1 + 4 + 9) / 3
    assert ["std", "4.041"] in rows
    with (sweep.out / "comparison.csv").open(newline="") as file:
        assert [row["val/loss"] for row in csv.DictReader(file)] == ["1.0", "4.0", "9.0"]
    assert imread(sweep.out / "comparison.png").shape[0] > 50


def test_what_is_done_is_not_done_again(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    sweep.run("--seeds=2")
    sweep.run("--seeds=3")
    assert "seed_0 skipped: done already" in capsys.readouterr().out
    assert [len(sweep.calls(f"seed_{i}")) for i in range(3)] == [1, 1, 1]


def test_a_failed_run_ends_nothing_and_is_tried_again(
    sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    for tries in (1, 2):
        with pytest.raises(SystemExit) as ended:
            sweep.run("--seeds=3", "--fails_if_x=1")
        assert ended.value.code == 1
        printed = capsys.readouterr().out
        log = sweep.out / "seed_1" / "log.txt"
        assert f"seed_1 failed: RuntimeError: out of luck (log: {log})" in printed
        assert "\nmean" in printed
        assert "1 of 3 runs failed: seed_1. The same command tries them again." in printed
        assert len(sweep.calls("seed_1")) == tries
        assert len(sweep.calls("seed_2")) == 1
        assert "Traceback" in log.read_text()


def test_a_killed_sweep_resumes_its_runs(sweep: Sweep) -> None:
    options = ["--seeds=3", "--jobs=2", "--seconds=0.5"]
    process = sweep.start(*options)
    wait_for(lambda: len(list(sweep.out.glob("seed_*/*/checkpoints/*.ckpt"))) == 2)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not list(sweep.out.glob("*/status.json"))
    sweep.run(*options)
    for name in ("seed_0", "seed_1"):
        assert sweep.calls(name) == ["", str(sweep.out / name)]
    assert sweep.calls("seed_2") == [""]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_lets_runs_save(signum: signal.Signals, sweep: Sweep) -> None:
    process = sweep.start("--seeds=3", "--jobs=2", "--seconds=60")
    wait_for(lambda: len(list(sweep.out.glob("seed_*/*/checkpoints/*.ckpt"))) == 2)
    process.send_signal(signum)
    printed = process.communicate(timeout=20)[0]
    assert process.returncode == TRY_AGAIN == EXIT_CODE_OF_FIT
    assert "Stopping, when 2 runs have saved." in printed
    assert "seed_1 stopped" in printed
    assert not (sweep.out / "seed_2").exists()


def test_ctrl_c_reaches_no_child(sweep: Sweep) -> None:
    """In a terminal it goes to the whole group, but `fit` takes it for a wish to end at once."""
    process = sweep.start("--seeds=1", "--seconds=60")
    wait_for(lambda: list(sweep.out.glob("seed_*/*/checkpoints/*.ckpt")))
    os.killpg(process.pid, signal.SIGINT)
    assert "seed_0 stopped" in process.communicate(timeout=20)[0]


def test_a_run_that_never_saved_starts_in_an_empty_folder(sweep: Sweep) -> None:
    sweep.run("--seeds=1")
    (sweep.out / "seed_0" / "status.json").unlink()
    (sweep.out / "seed_0" / "version_0" / "old").touch()
    sweep.run("--seeds=1")
    assert not (sweep.out / "seed_0" / "version_0" / "old").exists()
    assert sweep.calls("seed_0") == ["", ""]


def test_two_processes_train_no_run_twice(sweep: Sweep) -> None:
    processes = [sweep.start("--seeds=6", "--seconds=0.2") for _ in range(2)]
    printed = [process.communicate(timeout=30)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], printed
    assert [len(sweep.calls(f"seed_{i}")) for i in range(6)] == [1] * 6
    assert all("done after" in text for text in printed)  # both took part
    assert any(text.count("\nseed_") >= 6 and "\nmean" in text for text in printed)


def test_a_child_keeps_its_run_when_its_sweep_is_killed(sweep: Sweep) -> None:
    process = sweep.start("--seeds=1", "--seconds=1")
    wait_for(lambda: list(sweep.out.glob("seed_*/*/checkpoints/*.ckpt")))
    process.kill()
    process.wait()
    assert Run.claim(sweep.out / "seed_0", []) is None
    process.communicate()  # the child has ended
    wait_for(lambda: Run.claim(sweep.out / "seed_0", []))


def test_jobs_share_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert [environment(jobs)["OMP_NUM_THREADS"] for jobs in (1, 3, 9)] == ["8", "2", "1"]
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert "OMP_NUM_THREADS" not in environment(1)
    assert environment(1000)["OMP_NUM_THREADS"] == "1"
    monkeypatch.setattr(cpu, "allowed_cores", lambda: 6)  # also of a container with more cores
    assert environment(2)["OMP_NUM_THREADS"] == "3"


def test_scores_of_training_without_validation_are_called_so(
    sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep.run("--seeds=1", "--metric=train/memory_gb")
    printed = capsys.readouterr().out
    assert "No validation scores were logged." in printed
    assert "train/loss 0.5" in printed
    assert "memory" not in printed.replace("--metric=train/memory_gb", "")


def test_test_scores_are_not_shown(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    sweep.run("--seeds=1", "--metric=test/loss")
    assert "test/" not in capsys.readouterr().out


MISTAKES = {
    "--seeds=2 --jobs=0": "argument --jobs: '0' is not a number of 1 or more.",
    "--seeds=0": "argument --seeds: '0' is not a number of 1 or more.",
    "": "give --seeds N, which repeats one setting, or --space FILE, which searches for the best",
    "--seeds=2 --space=x.yaml": "both are given.",
    "--seeds=2 --trials=4": "--trials belongs to a search: give --space FILE, not --seeds.",
    "--space=x.yaml --first_seed=4": "--first_seed belongs to --seeds N.",
    "--seeds=2 --config=no.yaml": "--config no.yaml: no such file.",
    "--seeds=2 --ckpt_path=last": "--ckpt_path is set by sweep for each run: leave it out.",
    "--seeds=2 --seed_everything=1": "--seed_everything is set by sweep for each run",
    "--seeds=2 --y=1": "there is no option '--y'. Did you mean --x?",
}


@pytest.mark.parametrize("options", MISTAKES)
def test_mistakes_are_one_line_and_leave_nothing(
    options: str, sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    assert MISTAKES[options] in fails(capsys, *sweep.args(*options.split()))
    assert not sweep.out.exists()


def test_a_config_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert fails(capsys, "sweep", "--seeds=2").startswith("error: missing: --config.")


def test_a_folder_belongs_to_one_sweep(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    sweep.run("--seeds=1", "--x=2")
    line = fails(capsys, *sweep.args("--seeds=1", "--x=3"))
    assert f"{sweep.out} belongs to another sweep, which differs in --x: '2' there, '3'" in line
    line = fails(capsys, *sweep.args("--seeds=1"))
    assert "differs in --x: '2' there, not given here" in line
    sweep.config.write_text("model: other\n")
    line = fails(capsys, *sweep.args("--seeds=1", "--x=2"))
    assert f"which differs in the content of {sweep.config}. Give another folder" in line
    assert len(sweep.calls("seed_0")) == 1


def test_a_folder_with_something_else_is_refused(
    sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep.out.mkdir()
    (sweep.out / "thesis.tex").touch()
    assert "not a sweep's folder, and not empty" in fails(capsys, *sweep.args("--seeds=1"))


def test_the_folder_has_the_name_of_the_experiment(
    sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = f"--trainer.default_root_dir={tmp_path}/runs"
    run("sweep", f"--config={sweep.config}", "--seeds=1", root)
    assert run_folder(tmp_path / "runs" / "some-sweep" / "seed_0") is not None
    run("sweep", f"--config={sweep.config}", "--seeds=1", root, "--experiment=mine")
    assert (tmp_path / "runs" / "mine-sweep").is_dir()


def test_the_command_starts_without_torch() -> None:
    script = "import sys, cli; sys.argv = ['cli.py', 'sweep', '--help']\ntry: cli.main()\nfinally: "
    script += "print([name for name in ('torch', 'lightning', 'optuna') if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.endswith("[]\n")
    assert "Further options are those of fit." in " ".join(done.stdout.split())


def test_options_by_name() -> None:
    args = ["--config", "a", "--x=-1", "--config=b", "--y", "-2", "3", "--z"]
    assert by_name(args) == {"--config": "a b", "--x": "-1", "--y": "-2 3", "--z": ""}


@pytest.mark.slow
def test_seeds_of_a_real_config(
    tmp_path: Path, in_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep_runs.CLI == ROOT / "cli.py"
    flags = ["--trainer.max_epochs=2", "--data.val_fraction=0.2", f"--out={tmp_path / 'out'}"]
    run("sweep", "--config=configs/iris.yaml", "--seeds=2", "--jobs=2", *flags)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["run", "seed_everything", "val/accuracy", "val/loss", "val/calibration_error"] in rows
    losses = {row[3] for row in rows if row[:2] in (["seed_0", "0"], ["seed_1", "1"])}
    assert len(losses) == 2
    line = fails(capsys, "sweep", "--config=configs/iris.yaml", "--seeds=2", "--data.batch=3")
    assert line == "error: --data: Iris has no option 'batch'. Did you mean batch_size?"
    line = fails(capsys, "sweep", "--config=configs/iris.yaml", "--seeds=2", "--job=3")
    assert line == "error: there is no option '--job'. Did you mean --jobs?"

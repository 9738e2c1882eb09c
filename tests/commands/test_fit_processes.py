"""A sweep trains each run once, also if it is stopped in between, and shares its runs."""

import json
import os
import signal
import subprocess
import sys

import pytest

from commands import fit_processes
from runtime.signals import SAVED_EXIT_CODE
from tests.conftest import ROOT
from tests.test_cli import fails


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


def test_a_stopped_sweep_continues(sweep):
    """In a terminal, Ctrl-C goes to the whole process group."""
    start = ["--init_from", "run"]  # only a new run takes it
    assert "seed_0 stopped" in sweep.stop(signal.SIGINT, "seed_0", "--seeds=2", *start)
    assert not (sweep.out / "seed_1").exists()
    sweep.run("--seeds=2", *start, "--seconds=2")
    assert (sweep.out / "seed_0" / "log.txt").read_text() == "started\nstopped\ncontinued\n"
    assert sweep.calls("seed_0") == ["", str(sweep.out / "seed_0")]
    assert sweep.calls("seed_1") == [""]


@pytest.mark.skipif(sys.platform != "linux", reason="a child ends with its parent on Linux")
@pytest.mark.parametrize("options", [["--seeds=2"], ["--seeds=3", "--jobs=2"]])
def test_a_run_ends_with_its_killed_sweep_and_continues(options, sweep):
    """The repeated command waits for a run that still saves."""
    options = [*options, "--saving=0.6"]
    sweep.stop(signal.SIGKILL, "seed_0", *options)
    sweep.run(*options, "--seconds=2")
    assert (sweep.out / "seed_0" / "log.txt").read_text() == "started\nstopped\ncontinued\n"
    assert sweep.calls("seed_0") == ["", str(sweep.out / "seed_0")]
    assert [*(sweep.out / "seed_0").glob("version_*")] == [sweep.out / "seed_0/version_0"]


@pytest.mark.skipif(sys.platform != "linux", reason="a child ends with its parent on Linux")
def test_a_run_whose_sweep_has_ended_before_does_not_begin(tmp_path):
    command = [sys.executable, "cli.py", "fit", f"--config={tmp_path}/none.yaml"]
    for parent, code in ((os.getpid(), 2), (os.getppid(), SAVED_EXIT_CODE)):  # 2: no such config
        environment = os.environ | {"LADDER_PARENT": str(parent)}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)
        assert done.returncode == code, done.stderr


def test_a_sweep_that_waits_for_a_run_can_be_stopped(sweep, monkeypatch):
    (sweep.out / "seed_0").mkdir(parents=True)
    with (sweep.out / "seed_0" / "log.txt").open("ab") as log:
        pytest.importorskip("fcntl").flock(log, 2)  # as a run whose sweep was killed
        process = sweep.start("--seeds=1")
        assert process.stdout.readline() == "seed_0 is still being trained: waits for its end\n"
        process.terminate()
        assert process.communicate(timeout=20)[0] == ""
    assert process.returncode == SAVED_EXIT_CODE
    assert not (sweep.out / "seed_0" / "calls").exists()


def test_an_option_is_left_out_with_its_value():
    for words in ["--a", "run"], ["--a=run"], []:
        assert fit_processes.without_option("--a", ["--ab=1", *words, "run"]) == ["--ab=1", "run"]


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
    printed = sweep.stop(signal.SIGTERM, "seed_1", "--seeds=3", "--jobs=2")
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
    monkeypatch.setattr(fit_processes, "allowed_cores", lambda: 7)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    sweep.run("--seeds=2", "--jobs=2", "--together=2")
    found = [json.loads((sweep.out / f"seed_{i}/environment.json").read_text()) for i in (0, 1)]
    assert {given["CUDA_VISIBLE_DEVICES"] for given in found} == expected
    assert {given["OMP_NUM_THREADS"] for given in found} == {"3"}


def test_two_processes_train_no_run_twice(sweep):
    processes = [sweep.start("--seeds=4", "--seconds=0.3") for _ in range(2)]
    printed = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], printed
    assert [len(sweep.calls(f"seed_{i}")) for i in range(4)] == [1] * 4
    assert any("mean" in text for text in printed)


@pytest.mark.parametrize("link", ["seed_0", "seed_0/log.txt"])
def test_a_link_out_of_a_sweep_is_refused(link, sweep, tmp_path, capsys):
    (sweep.out / link).parent.mkdir(parents=True)
    (sweep.out / link).symlink_to(tmp_path / "elsewhere")
    line = fails(capsys, *sweep.args("--seeds=1"))
    assert line.startswith(f"error: {sweep.out / link} is a link to {tmp_path / 'elsewhere'}")
    assert not (tmp_path / "elsewhere").exists()

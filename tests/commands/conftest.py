"""Sweeps of a fake `fit`."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from commands import fit_processes
from runtime.signals import SAVED_EXIT_CODE
from tests.conftest import ROOT
from tests.test_cli import run

FAKE = Path(__file__).parent / "fake_fit.py"
OTHER_PROCESS = (
    "import sys, cli; from pathlib import Path; from commands import fit_processes; "
    "fit_processes.CLI = Path(sys.argv.pop(1)); cli.main(sys.argv[1:])"
)


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
        """Starts a sweep in its own process group."""
        command = [sys.executable, "-c", OTHER_PROCESS, str(FAKE), *self.args(*options)]
        return subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            process_group=0,
        )  # fmt: skip

    def stop(self, signum: signal.Signals, first: str, *options: str) -> str:
        """Starts a sweep, sends a signal to the first run, and returns what it has printed."""
        process = self.start(*options, "--seconds=2")
        end = time.monotonic() + 60
        while not list(self.out.glob(f"{first}/*/checkpoints/*.ckpt")):
            assert time.monotonic() < end
            time.sleep(0.02)
        group = signum is signal.SIGINT  # as Ctrl-C in a terminal
        (os.killpg if group else os.kill)(process.pid, signum)
        printed = process.communicate(timeout=40)[0]
        killed = signum is signal.SIGKILL
        assert process.returncode == (-signum if killed else SAVED_EXIT_CODE), printed
        return printed

    def calls(self, name: str) -> list[str]:
        """The `--ckpt_path` of each call of `fit` for a run."""
        return (self.out / name / "calls").read_text().split("\n")[:-1]

    def trials(self) -> list[dict[str, str]]:
        with (self.out / "trials.csv").open(newline="") as file:
            return list(csv.DictReader(file))


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    monkeypatch.setattr(fit_processes, "CLI", FAKE)
    monkeypatch.setattr(fit_processes, "POLL_SECONDS", 0.05)
    return Sweep(tmp_path)

"""Sweeps of a fake `fit`, in this process and in others."""

import subprocess
import sys
from pathlib import Path

import pytest

from commands import sweep_runs
from tests.conftest import ROOT
from tests.test_cli import run

FAKE = Path(__file__).parent / "fake_fit.py"
OTHER_PROCESS = (
    "import sys, cli; from pathlib import Path; from commands import sweep_runs; "
    "sweep_runs.CLI = Path(sys.argv.pop(1)); cli.main(sys.argv[1:])"
)


class Sweep:
    """A folder for a sweep, and a config file."""

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


def fake_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    monkeypatch.setattr(sweep_runs, "CLI", FAKE)
    return Sweep(tmp_path)

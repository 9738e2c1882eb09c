"""A contender in a process of its own, which takes steps when told to and says how long they took.

Only the standard library, since the Keras environment holds neither torch nor this project.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


class WorkerError(RuntimeError):
    """A contender ended where it should have answered."""


class Worker:
    """The parent's end: starts a contender and waits until it is ready.

    Args:
        name: Of the contender; its log is `<name>.log`.
        command: Starts a process that talks through `Line`.
        folder: Where the log goes.
        wait: Until it says that it is ready.

    Raises:
        WorkerError: It ended instead of getting ready.
    """

    def __init__(self, name: str, command: Sequence[str], folder: Path, wait: bool = True) -> None:
        self.name, self.log = name, folder / f"{re.sub('[^a-zA-Z0-9_.]+', '-', name)}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
                env=os.environ | {"PYTHONUNBUFFERED": "1", "TF_CPP_MIN_LOG_LEVEL": "2"},
            )
        self.peak_mb = 0.0
        self.hello = self.answer() if wait else {}

    def run(self, steps: int) -> float:
        """Seconds a step, over `steps` steps; see `pacing.Fit` for a negative number."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        answer = self.answer()
        self.peak_mb = answer["peak_mb"]
        return answer["seconds"] / abs(steps)

    def answer(self) -> dict[str, Any]:
        """What it says next; an error, with the end of its log, if that is nothing."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            said = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
            raise WorkerError(f"{self.name} ended with {self.process.returncode}:\n{said}")
        return json.loads(line)

    def close(self) -> None:
        """Ends the process: its input closes, which it takes as the end."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


class Line:
    """The contender's end; whatever else it prints goes to the log."""

    def __init__(self) -> None:
        sys.stdout.flush()
        self._out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def ready(self, **facts: Any) -> None:
        """Says that steps may be asked for."""
        self._send(facts)

    def receive(self) -> int:
        """How many steps to take; 0: no more, ever."""
        return int(sys.stdin.readline() or 0)

    def report(self, seconds: float) -> None:
        """Says how long the steps took, all together."""
        self._send({"seconds": seconds, "peak_mb": peak_memory_mb()})

    def _send(self, message: dict[str, Any]) -> None:
        self._out.write(json.dumps(message) + "\n")
        self._out.flush()


def peak_memory_mb(status: Path = Path("/proc/self/status")) -> float:
    """Most memory that this process ever held; 0 where the system does not say."""
    try:
        lines = status.read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)

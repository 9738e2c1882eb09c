"""Runs a contender in its own process, which takes steps on request and reports their duration.

Imports only the standard library, because the Keras environment has neither torch nor this project.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


class WorkerError(RuntimeError):
    """A contender ended instead of answering."""


class Worker:
    """The parent's end: starts a contender and waits until it is ready.

    Args:
        name: Name of the contender. Its log is `<name>.log`.
        command: Starts a process that talks through `Line`.
        folder: Folder of the log.

    Raises:
        WorkerError: The contender ended before it was ready.
    """

    def __init__(self, name: str, command: Sequence[str], folder: Path) -> None:
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
        self.hello = self.answer()

    def run(self, steps: int) -> float:
        """Returns the seconds per step over `steps` steps."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        answer = self.answer()
        self.peak_mb = answer["peak_mb"]
        return answer["seconds"] / steps

    def run_warm(self, steps: int) -> float:
        """Does the same after a step that does not count.

        During the turns of others, this process has lost caches and perhaps pages of memory. That
        costs all contenders the same time, and so a fast one a larger share of it.
        """
        self.run(1)
        return self.run(steps)

    def answer(self) -> dict[str, Any]:
        """Returns the contender's next message.

        Raises:
            WorkerError: The contender has ended; the message contains the end of its log.
        """
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            said = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
            raise WorkerError(f"{self.name} ended with {self.process.returncode}:\n{said}")
        return json.loads(line)

    def close(self) -> None:
        """Ends the process by closing its input."""
        try:
            self.process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()


class Line:
    """The contender's end. Everything else that it prints goes to the log."""

    def __init__(self) -> None:
        sys.stdout.flush()
        self._out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def ready(self, **facts: Any) -> None:
        """Reports that steps may be requested."""
        self._send(facts)

    def receive(self) -> int:
        """Returns the number of steps to take; 0 ends the process."""
        return int(sys.stdin.readline() or 0)

    def report(self, seconds: float) -> None:
        """Reports the duration of all steps together."""
        self._send({"seconds": seconds, "peak_mb": peak_memory_mb()})

    def steps(self, wait: Callable[[], object] = lambda: None, **facts: Any) -> Iterator[int]:
        """Yields for each requested step, and reports durations until the parent closes the line.

        Args:
            wait: Waits until the device is idle.
            **facts: The first message to the parent.
        """
        self.ready(**facts)
        while steps := self.receive():
            wait()
            start = time.perf_counter()
            yield from range(steps)
            wait()
            self.report(time.perf_counter() - start)

    def _send(self, message: dict[str, Any]) -> None:
        self._out.write(json.dumps(message) + "\n")
        self._out.flush()


def peak_memory_mb(status: Path = Path("/proc/self/status")) -> float:
    """Returns the peak memory of this process in MB; 0 if the system does not report it."""
    try:
        lines = status.read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)

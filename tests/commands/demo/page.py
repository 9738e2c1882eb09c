"""The page of `demo`, served by the command in a process of its own."""

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from commands import demo
from tests.conftest import ROOT

SECONDS = 90  # to start; a busy machine needs 20


class Page:
    """Serves the page of a folder of runs; use as a context manager."""

    def __init__(self, runs: Path) -> None:
        with demo.listen(0) as free:
            self.port = free.getsockname()[1]
        self.address = f"http://{demo.HOST}:{self.port}"
        self.runs = runs
        self._log = tempfile.NamedTemporaryFile(suffix=".log")  # noqa: SIM115  # closed on exit

    @property
    def output(self) -> str:
        return Path(self._log.name).read_text()

    def __enter__(self) -> "Page":
        command = [sys.executable, str(ROOT / "cli.py"), "demo", f"--runs={self.runs}"]
        self.process = subprocess.Popen(
            [*command, f"--port={self.port}"], cwd=ROOT, start_new_session=True,
            stdout=self._log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        end = time.monotonic() + SECONDS
        while "in a browser of this machine" not in self.output:
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise RuntimeError(f"the page does not start: {self.output}")
            time.sleep(0.1)
        return self

    def stop(self) -> int:
        """Stops the command as Ctrl-C does, and returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        return self.process.returncode

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._log.close()

"""Child processes of `cli.py fit`, which train the runs of a sweep. Imports nothing heavy."""

import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from runtime import cpu, signals
from runtime.errors import UserError

CLI = Path(__file__).resolve().parent.parent / "cli.py"
TRY_AGAIN = 75  # the exit code of `fit` if it was told to stop and has saved
STOPPED = (TRY_AGAIN, -signal.SIGTERM, -signal.SIGUSR1)  # the last two: before there was a model
WRONG_INPUT = 2  # the exit code of `fit` after a mistake of the user
LOG, LOCK, DONE = "log.txt", ".lock", "done"
PAUSE = 0.1  # seconds between two looks at the children


class Run:
    """A process that trains a run of a sweep, or continues it from its last checkpoint.

    Args:
        folder: The folder of the run, in which `fit` makes the folder of its version.
        lock: The lock on the folder, which is released by `release`.
        options: Options of `fit`.
        jobs: How many runs share the cores.
        trial: The run's trial of an Optuna study.
    """

    def __init__(
        self, folder: Path, lock: FileLock, options: Sequence[str], jobs: int, trial: Any = None
    ) -> None:
        self.folder, self.name, self.lock, self.trial = folder, folder.name, lock, trial
        self.pruned, self.read = False, 0.0  # the second: the date of the log that was read
        options = [*options, f"--trainer.default_root_dir={folder.parent}"]
        options += [f"--experiment={folder.name}"]
        if saved := any(folder.glob("*/checkpoints/[!.]*.ckpt")):
            options += [f"--ckpt_path={folder}"]
        self.log = folder / LOG
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self.process = subprocess.Popen(
                [sys.executable, str(CLI), "fit", *options], env=environment(jobs),
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                process_group=0,  # Ctrl-C reaches the sweep alone, which tells its children
            )  # fmt: skip
        say(f"{self.name} {'continued' if saved else 'started'}")

    @property
    def code(self) -> int:
        """The exit code of the process, which has ended."""
        return self.process.returncode

    def stop(self) -> None:
        """Tells the process to save and end."""
        self.process.send_signal(signal.SIGTERM)  # does nothing if it has ended

    def release(self) -> None:
        self.process.wait()
        self.lock.release()

    def error(self) -> str:
        """Returns why the process failed; empty if it has ended well."""
        if self.code < 0:
            reason = ", perhaps because memory ran out" if -self.code == signal.SIGKILL else ""
            return f"killed by {signal.Signals(-self.code).name}{reason}"
        if self.code:
            output = self.log.read_bytes()[self._log_start :].decode(errors="replace")
            lines = [line.strip() for line in output.splitlines() if line.strip()]
            errors = [line for line in lines if line.startswith("error: ")]
            return (errors or lines or ["it failed without a message"])[-1].removeprefix("error: ")
        return "" if results_of(self.folder) else "it left no run folder (--trainer.fast_dev_run?)"


class Source(ABC):
    """The runs of a sweep, one after the other.

    Args:
        folder: The folder of the sweep, with a folder for each run.
        fit: Options of `fit` for all runs.
        jobs: How many runs train at a time.
    """

    def __init__(self, folder: Path, fit: Sequence[str], jobs: int) -> None:
        self.folder, self.fit, self.jobs = folder, fit, jobs

    @abstractmethod
    def take(self) -> Run | None:
        """Starts the next run that is free; None if there is none at the moment."""

    def watch(self, run: Run) -> None:  # noqa: B027
        """Looks at a run while it trains."""

    @abstractmethod
    def note(self, run: Run, error: str) -> str:
        """Notes the result of a run that has ended; returns why it has none, or nothing."""

    def record(self, run: Run) -> str:
        """Records how a run ended, and returns it in words."""
        if run.code in STOPPED and not run.pruned:  # the same command continues it
            return "stopped"
        if error := self.note(run, "" if run.code in STOPPED else run.error()):
            if run.code in (0, WRONG_INPUT) and not self.has_results():
                raise UserError(error)  # of the user, which every other run has too
            return f"failed: {error} (log: {run.log})"
        (run.folder / DONE).touch()
        return "pruned" if run.code else "done"

    def has_results(self) -> bool:
        """Returns whether a run has ended well."""
        return any(self.folder.glob(f"*/{DONE}"))


def train(source: Source, jobs: int) -> None:
    """Trains all runs of a source, several at a time, until a signal is noted.

    Raises:
        SystemExit: With 75 if a signal stopped the sweep. The same command continues it.
    """
    running: list[Run] = []
    told, free = False, True  # free: there may be a run to take
    try:
        while True:
            while free and len(running) < jobs and not signals.stop_requested():
                run = source.take()
                free = run is not None
                running += [run] if run else []
            if signals.stop_requested() and not told:
                told = True
                say(f"Stopping, when {len(running)} runs have saved. The same command continues.")
                for run in running:
                    run.stop()
            if not running:
                break
            time.sleep(PAUSE)
            for run in [*running]:
                if run.process.poll() is None:
                    source.watch(run)
                    continue
                say(f"{run.name} {source.record(run)}")
                running.remove(run)
                run.release()
                free = True
    finally:  # after an error, the others save
        for run in running:
            run.stop()
        for run in running:
            run.release()
    if told:
        raise SystemExit(TRY_AGAIN)


def claim(folder: Path) -> FileLock | None:
    """Makes and locks the folder of a run; returns None if another process has locked it."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock


def results_of(folder: Path) -> Path | None:
    """Returns the folder that `fit` has made for a run, the newest; None before it has."""
    files = folder.glob("*/config.yaml")
    return max((file.parent for file in files), key=os.path.getmtime, default=None)


def environment(jobs: int) -> dict[str, str]:
    """Returns the environment of children, which share the cores of this process."""
    found = os.environ | {"PYTHONUNBUFFERED": "1"}  # so that errors come last in the log
    if jobs > 1:
        cores = int(os.environ.get("OMP_NUM_THREADS") or cpu.allowed_cores())
        found["OMP_NUM_THREADS"] = str(max(1, cores // jobs))
    return found


def say(text: str) -> None:
    print(text, flush=True)

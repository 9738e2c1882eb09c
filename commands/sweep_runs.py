"""The runs of a sweep: child processes, each in its own folder, that can be stopped and continued.

Imports nothing heavy.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from runtime import cpu, signals
from runtime.errors import UserError
from runtime.files import read_json, write_json

CLI = Path(__file__).resolve().parent.parent / "cli.py"
TRY_AGAIN = 75  # the exit code of `fit` if it was told to stop and has saved
STOPPED = (TRY_AGAIN, -signal.SIGTERM, -signal.SIGUSR1)  # the last two: before there was a model
LOG, STATUS, LOCK = "log.txt", "status.json", ".lock"
PAUSE = 0.1  # seconds between two looks at the children


class Outcome(NamedTuple):
    """The end of a run."""

    state: str  # done, failed or stopped
    seconds: float
    error: str = ""
    code: int = 0  # exit code


@dataclass
class Run:
    """A run of a sweep, which no other process can claim until this one releases it."""

    folder: Path
    options: list[str]  # of `fit`, in which the runs of the sweep differ
    lock: int
    callbacks: tuple[str, ...] = ()  # options that add callbacks

    @classmethod
    def claim(cls, folder: Path, options: list[str]) -> "Run | None":
        """Returns the run, or None if another process trains it."""
        folder.mkdir(parents=True, exist_ok=True)
        lock = _try_lock(folder / LOCK)
        return None if lock is None else cls(folder, options, lock)

    def release(self) -> None:
        os.close(self.lock)

    @property
    def name(self) -> str:
        return self.folder.name


class Source(Protocol):
    """The runs of a sweep, one after the other."""

    def take(self) -> Run | None:
        """Returns the next run that is free, or None if there is none at the moment."""

    def record(self, run: Run, outcome: Outcome) -> str:
        """Records how a run ended, and returns a line about it."""


def run_folder(folder: Path) -> Path | None:
    """Returns the folder that `fit` has made for a run of the sweep; None before it has."""
    return next((config.parent for config in sorted(folder.glob("*/config.yaml"))), None)


def is_done(folder: Path) -> bool:
    """Returns whether a run of the sweep has ended well."""
    return read_json(folder / STATUS).get("state") == "done"


def train(source: Source, fit: Sequence[str], jobs: int) -> None:
    """Trains all runs of a source, several at a time, until a signal is noted.

    Raises:
        SystemExit: With 75 if a signal stopped the sweep. The same command continues it.
    """
    children: list[Child] = []
    exhausted = told = stopped = False
    try:
        while children or not (exhausted or signals.stop_requested()):
            while len(children) < jobs and not (exhausted or signals.stop_requested()):
                run = source.take()
                exhausted = run is None
                if run is not None:
                    children.append(Child(run, fit, jobs))
            if signals.stop_requested() and not told:
                told = True
                say(f"Stopping, when {len(children)} runs have saved. The same command continues.")
                for child in children:
                    child.stop()
            for child in [child for child in children if child.has_ended()]:
                children.remove(child)
                exhausted = False  # what another process trained may be free now
                outcome = child.outcome()
                stopped |= outcome.state == "stopped"
                try:
                    say(f"{child.run.name} {source.record(child.run, outcome)}")
                finally:
                    child.run.release()
            time.sleep(PAUSE)
        stopped |= signals.stop_requested()
    finally:
        for child in children:  # an error ends the sweep, so its runs save
            child.stop()
        for child in children:
            child.process.wait()
            child.run.release()
    if stopped:
        raise SystemExit(TRY_AGAIN)


class Child:
    """A process that trains a run, or continues it from its last checkpoint."""

    def __init__(self, run: Run, fit: Sequence[str], jobs: int) -> None:
        self.run, self.started = run, time.monotonic()
        has_checkpoint = any(run.folder.glob("*/checkpoints/[!.]*.ckpt"))
        resume = [f"--ckpt_path={run.folder}"] if has_checkpoint else []
        if not resume:  # a run that ended before it saved has left nothing of use
            for folder in (path for path in run.folder.iterdir() if path.is_dir()):
                shutil.rmtree(folder)
        place = [f"--trainer.default_root_dir={run.folder.parent}", f"--experiment={run.name}"]
        command = fit_command(*fit, *run.options, *run.callbacks, *place, *resume)
        self.log = run.folder / LOG
        with self.log.open("ab") as log:
            self.log_start = log.tell()
            # Ctrl-C reaches children too. They inherit that it is ignored, and the lock, which
            # therefore outlives a sweep that is killed while they train.
            handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
            try:
                self.process = subprocess.Popen(
                    command, env=environment(jobs), stdin=subprocess.DEVNULL, stdout=log,
                    stderr=subprocess.STDOUT, pass_fds=[run.lock],
                )  # fmt: skip
            finally:
                signal.signal(signal.SIGINT, handler)
        say(f"{run.name} {'continued' if resume else 'started'}: {' '.join(run.options)}")

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)  # does nothing if it has ended

    def outcome(self) -> Outcome:
        """Returns how the process has ended, and writes it into the run's folder."""
        code, seconds = self.process.returncode, time.monotonic() - self.started
        if code in STOPPED:
            return Outcome("stopped", seconds)
        error = self._error(code)
        outcome = Outcome("failed" if error else "done", seconds, error, code)
        write_json(self.run.folder / STATUS, outcome._asdict())
        return outcome

    def _error(self, code: int) -> str:
        if code < 0:
            reason = ", perhaps because memory ran out" if -code == signal.SIGKILL else ""
            return f"killed by {signal.Signals(-code).name}{reason}"
        if code == 0:
            if run_folder(self.run.folder) is not None:
                return ""
            return "it left no run folder: leave out --trainer.fast_dev_run and --trainer.logger"
        return last_error(self.log.read_bytes()[self.log_start :].decode(errors="replace"))


def fit_command(*options: str) -> list[str]:
    """Returns the command that trains, with the interpreter that runs."""
    return [sys.executable, str(CLI), "fit", *options]


def last_error(output: str) -> str:
    """Returns the line of a command's output that says why it failed."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (errors or lines or ["it failed without a message"])[-1]


def environment(jobs: int) -> dict[str, str]:
    """Returns the environment of children, which share the threads of this process."""
    shared = {}
    if jobs > 1:
        given = os.environ.get("OMP_NUM_THREADS", "")
        cores = int(given) if given.isdecimal() else cpu.allowed_cores()
        shared["OMP_NUM_THREADS"] = str(max(1, cores // jobs))
    return os.environ | shared | {"PYTHONUNBUFFERED": "1"}  # so that errors come last in the log


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lets one process at a time do something in a sweep's folder."""
    while (lock := _try_lock(folder / LOCK)) is None:
        time.sleep(PAUSE)
    try:
        yield
    finally:
        os.close(lock)


def _try_lock(path: Path) -> int | None:
    """Returns the descriptor of a locked file, or None if another process has locked it."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    except OSError as error:
        os.close(lock)
        reason = f"its file system cannot lock files ({error.strerror})"
        raise UserError(f"{path.parent}: {reason}. Give another folder with --out.") from error
    return lock


def say(text: str) -> None:
    print(text, flush=True)

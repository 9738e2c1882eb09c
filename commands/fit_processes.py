"""Runs of `cli.py fit` in child processes, several at once, which processes of `sweep` share.

Each run has its own folder, which is locked while the run trains.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from runtime import signals
from runtime.cpu import allowed_cores
from runtime.errors import UserError
from runtime.files import ROOT
from runtime.signals import SAVED_EXIT_CODE

CLI = ROOT / "cli.py"
LOCK, DONE = ".lock", "done"  # files in the folder of a run
POLL_SECONDS = 0.5  # seconds between two looks at a run


def run_parallel(work: Callable[[dict[str, str]], Any], jobs: int) -> list[Any]:
    """Calls `work` `jobs` times in parallel, each with environment variables for its hardware.

    Each gets one GPU, in turn, and an equal part of the cores, unless the user has set their
    number.
    """
    if jobs == 1:
        return [work({})]
    from torch.cuda import device_count

    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = given.split(",") if given else [str(number) for number in range(device_count())]
    threads = {"OMP_NUM_THREADS": str(max(1, allowed_cores() // jobs))}
    threads |= {name: os.environ[name] for name in threads if name in os.environ}
    shares = [
        threads | ({"CUDA_VISIBLE_DEVICES": gpus[job % len(gpus)]} if gpus else {})
        for job in range(jobs)
    ]
    with ThreadPoolExecutor(jobs) as pool:
        return [*pool.map(work, shares)]


def train_in_process(
    folder: Path, fit: Sequence[str], environment: dict[str, str],
    should_stop: Callable[[], bool] = bool, is_new: bool = True,
) -> str:  # fmt: skip
    """Trains a run in a child process, or continues it from its last checkpoint.

    Returns:
        How it ended: done, failed, killed, or pruned because `should_stop` said so; lost if it is
        not new and has saved nothing, which trains nothing.

    Raises:
        SystemExit: With 75 if a signal ended the run. The same command continues it.
        UserError: If the first run is refused for a reason that every other has too.
    """
    options = [*fit, f"--trainer.default_root_dir={folder.parent}", f"--experiment={folder.name}"]
    environment = {"PYTHONUNBUFFERED": "1", signals.PARENT: str(os.getpid())} | environment
    stopped, file = False, folder / "log.txt"
    with file.open("ab") as log:
        lock_log(log, folder.name)
        if saved := any(folder.glob("*/checkpoints/[!.]*.ckpt")):
            options = [*without_option("--init_from", options), f"--ckpt_path={folder}"]
        elif is_new:
            log.truncate(0)
        else:
            print(f"{folder.name} has saved nothing: another takes its place", flush=True)
            return "lost"
        process = subprocess.Popen(
            [sys.executable, str(CLI), "fit", *options], stdin=subprocess.DEVNULL, stdout=log,
            stderr=subprocess.STDOUT, env=os.environ | environment,
        )  # fmt: skip
    print(f"{folder.name} {'continued' if saved else 'started'}", flush=True)
    try:
        while process.poll() is None and not (stopped or signals.stop_requested()):
            with suppress(subprocess.TimeoutExpired):
                process.wait(POLL_SECONDS)
            stopped = should_stop()
    finally:
        process.terminate()  # does nothing if it has ended
        code = process.wait()
    if code and not stopped and (code == SAVED_EXIT_CODE or signals.stop_requested()):
        print(f"{folder.name} stopped. Repeat the command to continue.", flush=True)
        raise SystemExit(SAVED_EXIT_CODE)
    how = "done" if code == 0 else "pruned" if stopped else "failed" if code > 0 else "killed"
    if how == "done":
        (folder / DONE).touch()
    elif how != "pruned":
        last = ["", *file.read_text(errors="replace").splitlines()][-1].removeprefix("error: ")
        if code == 2 and not any(folder.parent.glob(f"*/{DONE}")):  # a mistake of the user
            raise UserError(last)
        print(f"{last or f'exit code {code}'} (log: {file})")
    print(f"{folder.name} {how}", flush=True)
    return how


def without_option(option: str, words: list[str]) -> list[str]:
    """Returns the words of a command line without an option and its value."""
    kept = [word for word in words if not word.startswith(f"{option}=")]
    while option in kept:
        index = kept.index(option)
        del kept[index : index + 2]
    return kept


def lock_log(log: IO[bytes], name: str) -> None:
    """Locks the log of a run for this process and the child that writes it.

    Waits for the end of a child whose sweep was killed, which still has the log.
    """
    with suppress(ImportError):  # on Windows
        import fcntl

        message = f"{name} is still being trained: waits for its end\n"
        while not signals.stop_requested():
            try:
                return fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(message, end="", flush=True)
                message = ""
            time.sleep(POLL_SECONDS)
        raise SystemExit(SAVED_EXIT_CODE)


def lock_run(folder: Path) -> AbstractContextManager[Any] | None:
    """Makes and locks the folder of a run; returns None if another process has locked it."""
    folder.mkdir(parents=True, exist_ok=True)
    with suppress(Timeout):
        return FileLock(folder / LOCK).acquire(timeout=0)
    return None

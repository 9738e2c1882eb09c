"""A lock on a run's folder: one process at a time trains a run."""

import fcntl
import os
import socket
from pathlib import Path

from lightning.pytorch.utilities.rank_zero import rank_zero_warn

NAME = ".lock"


class RunLock:
    """A lock on a folder that the system releases when the process ends, however it ends.

    On a network file system, NFS and Lustre included, it holds between machines. If a file system
    cannot lock files, a warning says so and the run goes on.
    """

    def __init__(self) -> None:
        self._file: int | None = None
        self._path = Path()

    def acquire(self, folder: Path) -> str:
        """Locks the folder, and returns who holds the lock; empty if this process now does."""
        self.release()
        self._path = folder / NAME
        file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            holder = os.read(file, 200).decode(errors="replace").strip()
            os.close(file)
            return holder or "another process"
        except OSError as error:
            rank_zero_warn(
                f"{folder}: its file system cannot lock files ({error.strerror}), so nothing keeps "
                "a second process from training this run: do not start one."
            )
        self._file = file
        os.ftruncate(file, 0)
        os.write(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        return ""

    def release(self) -> None:
        if self._file is not None:
            os.ftruncate(self._file, 0)  # the name of the host is nobody else's concern
            os.close(self._file)
            self._file = None

    def is_lost(self) -> bool:
        """Returns whether the locked folder was removed, or renamed, or replaced by another."""
        if self._file is None:
            return False
        try:
            found = self._path.stat()
        except OSError:
            return True
        own = os.fstat(self._file)
        return (found.st_dev, found.st_ino) != (own.st_dev, own.st_ino)

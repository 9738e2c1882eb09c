"""A run's folder, `runs/<experiment>/<version>/`: its name, its loggers and its lock."""

import errno
import os
import shutil
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from runtime import checkpoints, cluster, files, loggers
from runtime.errors import RunFailedError, UserError
from runtime.loggers import LoggerFactory, RunCSVLogger, RunTensorBoardLogger

WRITTEN = (".", "checkpoints", "figures")  # folders of a run into which training writes
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # of a file system


class RunLock:
    """A lock on a folder that the system releases when the process ends, however it ends.

    If a file system cannot lock files, a warning says so and the run goes on.
    """

    def __init__(self) -> None:
        self._lock: FileLock | None = None
        self._path = Path()
        self._inode: tuple[int, int] | None = None

    def acquire(self, folder: Path) -> str:
        """Locks the folder, and returns who holds the lock; empty if this process now does."""
        self.release()
        lock, self._path = FileLock(folder / ".lock"), folder / ".lock"
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return self._path.read_text().strip() or "another process"
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            rank_zero_warn(
                f"{folder}: its file system cannot lock files ({error.strerror}), so nothing keeps "
                "a second process from training this run: do not start one."
            )
            return ""
        self._lock, self._inode = lock, self._found()
        self._path.write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
        return ""

    def release(self) -> None:
        if self._lock is not None:
            if not self.is_lost():
                self._path.write_text("")  # the name of the host is nobody else's concern
            self._lock.release()
            self._lock = None

    def is_lost(self) -> bool:
        """Returns whether the locked folder was removed, or renamed, or replaced by another."""
        return self._lock is not None and self._found() != self._inode

    def _found(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino


class RunFolder(Callback):
    """Gives a run its folder and its loggers, and keeps other processes from training it.

    The ranks agree on the folder, so it is made once they can talk to each other.

    The CSV log comes first, because Lightning takes `trainer.log_dir` and the folder of checkpoints
    from the first logger. Loggers that the trainer already has stay. `others` are made
    on rank zero alone.

    Args:
        runs: The folder of all runs.
        experiment: The name of this run's experiment, usually that of its config file.
        resumed: The folder of the run that this one continues, if any. Its logs are continued.
        others: Makers of further loggers.
    """

    def __init__(
        self,
        runs: Path,
        experiment: str,
        resumed: Path | None = None,
        others: Sequence[LoggerFactory] = (),
    ) -> None:
        loggers.check(others)
        self.runs, self.experiment, self.resumed = runs, experiment, resumed
        self.others = others
        self.loggers: list[Logger] = []
        self._lock = RunLock()
        self._unused: Path | None = None  # a folder of this run, before its first training batch

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        folder, others = self._start(trainer, stage)
        if folder is None:
            rank_zero_warn(
                f"{self.resumed} is read-only, so no logs and no results are kept in it."
            )
            return
        given = [logger for logger in trainer.loggers if logger not in self.loggers]
        tensorboard = RunTensorBoardLogger(folder, TrainerFn(stage).value)
        self.loggers = [RunCSVLogger(folder), tensorboard, *others]
        trainer.loggers = [*self.loggers, *given]

    def _start(self, trainer: Trainer, stage: str) -> tuple[Path | None, list[Logger]]:
        """Opens the folder and starts the other loggers on rank zero.

        If that fails there, it fails on all ranks, which would otherwise wait for rank zero.
        """
        folder, others, failure = None, [], None
        if trainer.is_global_zero:
            try:
                folder = self._open(stage)
                others = loggers.start(self.others, folder) if folder else []
            except Exception as error:
                failure = error
        folder, reason = trainer.strategy.broadcast((folder, failure and str(failure)))
        if failure:
            raise failure
        if reason is not None:
            raise UserError(reason)
        return folder, others

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs at the checkpoint's step. Lightning's is zero."""
        for logger in self.loggers:
            if isinstance(logger, RunCSVLogger | RunTensorBoardLogger):
                logger.step = checkpoints.step_of(trainer.ckpt_path)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.VALIDATING:
            self.on_test_start(trainer, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forgets metrics of steps that the run repeats, because it was killed after them."""
        self._unused = None
        for logger in self.loggers:
            if isinstance(logger, RunCSVLogger) and trainer.is_global_zero:
                logger.forget_after(trainer.global_step)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self._insist_on_folder(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._insist_on_folder(trainer)

    def _insist_on_folder(self, trainer: Trainer) -> None:
        """Ends the run if its folder is gone: what it writes from here on would be lost."""
        if self._lock.is_lost():
            raise RunFailedError(
                f"the run's folder {self.loggers[0].log_dir} was removed or renamed while the "
                f"run was at step {trainer.global_step}. If it still exists under another name, "
                "`--ckpt_path NAME` goes on from its last checkpoint."
            )

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._lock.release()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        try:
            if isinstance(exception, OSError):
                self._insist_on_folder(trainer)
        finally:
            self._lock.release()
        # TensorBoard's own writer does not say which file the disk refused.
        if isinstance(exception, OSError) and exception.filename is None and self.loggers:
            exception.filename = self.loggers[0].log_dir
        self._remove_unused(trainer)

    def _remove_unused(self, trainer: Trainer) -> None:
        """Removes the folder of a run that could not begin: a mistake leaves nothing behind."""
        if self._unused is None:
            return
        for logger in trainer.loggers:
            logger.finalize("failed")
        trainer.loggers = []
        shutil.rmtree(self._unused, ignore_errors=True)
        with suppress(OSError):  # not empty
            self._unused.parent.rmdir()
            self.runs.rmdir()

    def _open(self, stage: str) -> Path | None:
        """Creates or finds the folder, and locks it for training.

        Returns None if nothing can be written beside a finished run.
        """
        folder = self._create()
        if stage != "fit":
            return folder if os.access(folder, os.W_OK) else None
        try:
            holder = self._lock.acquire(folder)
        except OSError as error:
            raise UserError(
                f"{folder} cannot be written to ({error.strerror}): make it writable, or copy it"
            ) from error
        if holder:
            raise UserError(
                f"{folder} is being trained by {holder}: wait for its end or stop it. Without "
                "--ckpt_path this is a new run."
            )
        for name in WRITTEN:
            files.sweep(folder / name)
        return folder

    def _create(self) -> Path:
        """Creates the folder, which no other run has, and returns it."""
        parent = self.resumed.parent if self.resumed else self.runs / self.experiment
        try:
            parent.mkdir(parents=True, exist_ok=True)
            while True:
                folder = self.resumed or parent / self._version()
                try:
                    if not (known := folder.is_dir() and (self.resumed or cluster.in_job())):
                        folder.mkdir()
                    self._unused = None if known else folder
                    return folder
                except FileExistsError:  # another run has just created it
                    continue
        except OSError as error:
            reason = f"cannot be created ({error.strerror})"
            raise UserError(
                f"the run's folder in {parent} {reason}: set --trainer.default_root_dir"
            ) from error

    def _version(self) -> str:
        if cluster.in_job():
            return cluster.run_name()
        folders = (self.runs / self.experiment).glob("version_*")
        numbers = [folder.name.removeprefix("version_") for folder in folders]
        return f"version_{max((int(n) for n in numbers if n.isdecimal()), default=-1) + 1}"


def run_folder_of(checkpoint: Path) -> Path | None:
    """Returns the run folder that contains a checkpoint, or None if the checkpoint is elsewhere."""
    folder = checkpoint.parent
    return folder.parent if folder.name == "checkpoints" else None

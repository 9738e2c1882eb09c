"""A run's folder, `runs/<experiment>/<version>/`: its name, config, loggers and lock."""

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from runtime import cluster, files
from runtime.errors import UserError
from runtime.loggers import RunCSVLogger, RunTensorBoardLogger

WRITTEN = (".", "checkpoints", "figures")  # folders of a run into which training writes
LONGEST_SAVE = 86_400  # seconds
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # of a file system


class RunFolder(Callback):
    """Gives a run its folder, config and loggers, and keeps other processes from training it.

    The ranks agree on the folder, so it is made once they can talk to each other.

    The CSV log comes first, because Lightning takes `trainer.log_dir` and the folder of checkpoints
    from the first logger. Loggers that the trainer already has stay.

    Args:
        runs: The folder of all runs.
        experiment: The name of this run's experiment, usually that of its config file.
        resumed: The folder of the run that this one continues, if any. Its logs are continued.
        config: The text of `config.yaml`, which trains such a run; empty: no file.
    """

    def __init__(
        self, runs: Path, experiment: str, resumed: Path | None = None, config: str = ""
    ) -> None:
        self.runs, self.experiment, self.resumed = runs, experiment, resumed
        self.config = config
        self.loggers: list[Logger] = []
        self._lock: FileLock | None = None  # released when the process ends, however it ends
        self._unused: Path | None = None  # a folder of this run, before its first training batch

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        folder = self._agreed(trainer, stage)
        if folder is None:
            rank_zero_warn(
                f"{self.resumed} is read-only, so no logs and no results are kept in it."
            )
            return
        given = [logger for logger in trainer.loggers if logger not in self.loggers]
        self.loggers = [RunCSVLogger(folder, stage == "fit")]
        if stage == "fit":
            self.loggers.append(RunTensorBoardLogger(folder))
        trainer.loggers = [*self.loggers, *given]
        if stage == "fit" and self.resumed is None:
            self._write_config(trainer)

    def _agreed(self, trainer: Trainer, stage: str) -> Path | None:
        """Opens the folder on rank zero, and returns it on all ranks.

        If that fails there, it fails on all ranks, which would otherwise wait for rank zero.
        """
        folder, reason = None, None
        if trainer.is_global_zero:
            try:
                folder = self._open(stage)
            except UserError as error:
                reason = str(error)
        folder, reason = trainer.strategy.broadcast((folder, reason))
        if reason is not None:
            raise UserError(reason)
        return folder

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forgets metrics of steps that the run repeats, because it was killed after them.

        A resumed run writes its config only now, when nothing can refuse its checkpoint.
        """
        self._unused = None
        if self.resumed is not None:
            self._write_config(trainer)
        for logger in self.loggers:
            if isinstance(logger, RunCSVLogger) and trainer.is_global_zero:
                logger.forget_after(trainer.global_step)

    def _write_config(self, trainer: Trainer) -> None:
        if self.config and trainer.is_global_zero:
            path = Path(self.loggers[0].log_dir or "") / "config.yaml"
            files.write(path, lambda file: file.write_bytes(self.config.encode()))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._lock is not None:
            self._lock.release()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self.teardown(trainer, pl_module, "fit")
        # TensorBoard's own writer does not say which file the disk refused.
        if isinstance(exception, OSError) and exception.filename is None and self.loggers:
            exception.filename = self.loggers[0].log_dir
        if self._unused is not None:  # a mistake leaves nothing behind
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
        self._lock = FileLock(folder / ".lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UserError(
                f"{folder} is being trained by another process: wait for its end or stop it. "
                "Without --ckpt_path this is a new run."
            ) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise UserError(
                    f"{folder} cannot be written to ({error.strerror}): make it writable, or copy "
                    "it"
                ) from error
            rank_zero_warn(f"{folder} cannot be locked, so do not train this run twice at once.")
        for name in WRITTEN:
            files.remove_partial_files(folder / name)
        for other in folder.parent.glob("*/checkpoints"):  # of runs killed in their first save
            files.remove_partial_files(other, LONGEST_SAVE)
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
            raise UserError(
                f"the run's folder in {parent} cannot be created ({error.strerror}): set "
                "--trainer.default_root_dir"
            ) from error

    def _version(self) -> str:
        if cluster.in_job():
            return cluster.run_name()
        folders = (self.runs / self.experiment).glob("version_*")
        numbers = [folder.name.removeprefix("version_") for folder in folders]
        return f"version_{max((int(n) for n in numbers if n.isdecimal()), default=-1) + 1}"

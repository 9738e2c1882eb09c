"""A run's folder, `runs/<experiment>/<version>/`, and the logs in it."""

import csv
import shutil
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from runtime import cluster, files, loggers
from runtime.loggers import LoggerFactory


class RunFolder(Callback):
    """Gives a run its folder, and its loggers, once the ranks can agree on the folder.

    TensorBoard and CSV logs come first, because Lightning takes `trainer.log_dir` and the folder of
    checkpoints from the first logger. Loggers that the trainer already has stay. `others` are made
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
        loggers.require_packages(others)
        self.runs, self.experiment, self.resumed = runs, experiment, resumed
        self.others = others
        self.loggers: list[Logger] = []
        self._unused: Path | None = None  # a folder of this run, before its first training batch

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        found = trainer.strategy.broadcast(self._create() if trainer.is_global_zero else "")
        if isinstance(found, str):
            raise MisconfigurationException(found)
        folder: Path = found
        given = [logger for logger in trainer.loggers if logger not in self.loggers]
        self.loggers = [
            logger(save_dir=folder.parent, name="", version=folder.name)
            for logger in (TensorBoardLogger, AppendingCSVLogger)
        ]
        if trainer.is_global_zero:
            self.loggers += loggers.start(self.others, folder)
        trainer.loggers = [*self.loggers, *given]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forgets metrics of steps that the run repeats, because it was killed after them."""
        self._unused = None
        for logger in self.loggers:
            if isinstance(logger, AppendingCSVLogger) and trainer.is_global_zero:
                logger.forget_from(trainer.global_step)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Removes the folder of a run that could not begin: a mistake leaves nothing behind."""
        if self._unused is not None:
            for logger in trainer.loggers:
                logger.finalize("failed")
            trainer.loggers = []
            shutil.rmtree(self._unused, ignore_errors=True)
            with suppress(OSError):  # not empty
                self._unused.parent.rmdir()
                self.runs.rmdir()

    def _create(self) -> Path | str:
        """Creates the folder, which no other run has, and returns it, or what is wrong."""
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
            return f"the run's folder in {parent} {reason}: set --trainer.default_root_dir"

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


class AppendingCSVLogger(CSVLogger):
    """Lightning's CSV logger, except that it continues a `metrics.csv` instead of deleting it."""

    writer: ExperimentWriter | None = None

    @property
    def experiment(self) -> ExperimentWriter:
        if self.writer is None:
            self.writer = _AppendingWriter(self.log_dir)
        return self.writer

    def forget_from(self, step: int) -> None:
        """Removes the rows of this step and of later ones from `metrics.csv`."""
        path = Path(self.log_dir) / ExperimentWriter.NAME_METRICS_FILE
        if not path.is_file():
            return
        with path.open(newline="") as file:
            header, *rows = [*csv.reader(file)] or [[]]
        if "step" not in header:
            return
        column = header.index("step")
        kept = [row for row in rows if int(row[column] or -1) < step]
        if len(kept) < len(rows):
            files.write(path, lambda new: _write_rows(new, [header, *kept]))

    def finalize(self, status: str) -> None:
        if self.writer is not None:
            self.save()


def _write_rows(path: Path, rows: list[list[str]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


class _AppendingWriter(ExperimentWriter):
    NAME_METRICS_FILE = ".metrics.csv"  # does not exist, so Lightning finds nothing to delete

    def __init__(self, log_dir: str) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*will be deleted")
            super().__init__(log_dir)
        path = Path(log_dir) / ExperimentWriter.NAME_METRICS_FILE
        self.metrics_file_path = str(path)
        if path.is_file():
            with path.open(newline="") as file:
                self.metrics_keys = next(csv.reader(file), [])

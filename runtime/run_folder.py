"""A run's folder, `runs/<experiment>/<version>/`, and the logs in it."""

import csv
import warnings
from collections.abc import Sequence
from pathlib import Path

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from runtime import cluster, loggers
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

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        folder = self.resumed or self.runs / self.experiment / self._version()
        folder = trainer.strategy.broadcast(folder)  # the ranks may have counted differently
        if trainer.is_global_zero:
            folder.mkdir(parents=True, exist_ok=True)
        given = [logger for logger in trainer.loggers if logger not in self.loggers]
        self.loggers = [
            logger(save_dir=folder.parent, name="", version=folder.name)
            for logger in (TensorBoardLogger, AppendingCSVLogger)
        ]
        if trainer.is_global_zero:
            self.loggers += loggers.start(self.others, folder)
        trainer.loggers = [*self.loggers, *given]

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

    def finalize(self, status: str) -> None:
        if self.writer is not None:
            self.save()


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

"""A run's folder, `runs/<experiment>/<version>/`, and the logs in it."""

import csv
import re
from pathlib import Path

from lightning import Callback, LightningModule, Trainer
from lightning.fabric.loggers.csv_logs import _ExperimentWriter
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from runtime import cluster


class RunFolder(Callback):
    """Gives a run its folder, and TensorBoard and CSV logs in it, once the ranks can agree on it.

    Args:
        runs: The folder of all runs.
        experiment: This run's experiment, the name of its config file.
        resumed: The folder of the run that this one continues, if any: logs go on in it.
    """

    def __init__(self, runs: Path, experiment: str, resumed: Path | None = None) -> None:
        self.runs, self.experiment, self.resumed = runs, experiment, resumed

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        folder = self.resumed or self.runs / self.experiment / self._version()
        folder = trainer.strategy.broadcast(folder)  # rank zero's count of versions is what holds
        if trainer.is_global_zero:
            folder.mkdir(parents=True, exist_ok=True)
        trainer.loggers = [
            logger(save_dir=folder.parent, name="", version=folder.name)
            for logger in (TensorBoardLogger, AppendingCSVLogger)
        ]

    def _version(self) -> str:
        if cluster.in_job():
            return cluster.run_name()
        taken = [
            int(match.group(1))
            for path in (self.runs / self.experiment).glob("version_*")
            if (match := re.fullmatch(r"version_(\d+)", path.name))
        ]
        return f"version_{max(taken, default=-1) + 1}"


def run_folder_of(checkpoint: Path) -> Path | None:
    """The run folder that a checkpoint lies in, or None if it lies elsewhere."""
    folder = checkpoint.parent
    return folder.parent if folder.name == "checkpoints" else None


class AppendingCSVLogger(CSVLogger):
    """Lightning's CSV logger, except that it goes on with a `metrics.csv` that is there.

    Lightning's deletes it, so that a resumed run would lose its past.
    """

    @property
    def experiment(self) -> _ExperimentWriter:
        if self._experiment is None:
            self._experiment = _AppendingWriter(self.log_dir)
        return self._experiment


class _AppendingWriter(ExperimentWriter):
    def _check_log_dir_exists(self) -> None:
        path = Path(self.metrics_file_path)
        if path.is_file():
            with path.open(newline="") as file:
                self.metrics_keys = next(csv.reader(file), [])

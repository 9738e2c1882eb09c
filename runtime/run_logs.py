"""A run's own logs: `metrics.csv`, which has each step once after a crash, and TensorBoard's."""

import csv
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from torch.utils.tensorboard.summary import hparams

from runtime import files


class RunTensorBoardLogger(TensorBoardLogger):
    """Lightning's TensorBoard logger, except that it writes only what somebody may look at.

    Without a card for the epoch or for a placeholder of hyperparameters. A command that shows
    nothing there leaves no file. What the disk refuses is said with the folder's name.

    Args:
        folder: The run's folder.
        stage: Of the Trainer. `validate` and `test` write into a folder of that name below the
            run's, which TensorBoard shows as another run, and other commands write nothing.
    """

    hparams: dict[str, Any]

    def __init__(self, folder: Path, stage: str = "fit") -> None:
        sub_dir = None if stage == "fit" else stage
        super().__init__(folder.parent, "", folder.name, default_hp_metric=False, sub_dir=sub_dir)
        self.shows = stage in ("fit", "validate", "test")
        self.step: int | None = None  # of all values; None: as given

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        shown = {name: value for name, value in metrics.items() if name != "epoch"}
        if shown and self.shows:
            with self._named():
                super().log_metrics(shown, step if self.step is None else self.step)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        super().log_hyperparams(params, *args, **kwargs)
        self.hparams = {k: v for k, v in self.hparams.items() if not k.startswith("_")}

    def log_settings(self, settings: dict[str, Any], scores: Sequence[str]) -> None:
        """Logs plain hyperparameters, to be compared by these scalars."""
        for summary in hparams(settings, dict.fromkeys(scores, 0.0)):
            self.experiment._get_file_writer().add_summary(summary)

    def save(self) -> None:
        if self._experiment is None:
            return
        with self._named():
            if self._sub_dir is None:
                super().save()  # writes the hyperparameters as well
            else:
                self.experiment.flush()

    def finalize(self, status: str) -> None:
        try:
            with self._named():
                super().finalize(status)
        except OSError:
            if status == "success":  # else the run already ends with an error
                raise

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Names the folder. Lightning takes the disk's error for a value that is no number."""
        with files.named(Path(self.log_dir)):
            try:
                yield
            except ValueError as error:
                raise (error.__cause__ if isinstance(error.__cause__, OSError) else error) from None


class AppendingCSVLogger(CSVLogger):
    """Lightning's CSV logger, except that it continues a `metrics.csv` instead of deleting it."""

    writer: "_AppendingWriter | None" = None

    @property
    def experiment(self) -> "_AppendingWriter":
        if self.writer is None:
            self.writer = _AppendingWriter(self.log_dir)
        return self.writer

    def forget_from(self, step: int) -> None:
        """Removes the rows of this step and of later ones from `metrics.csv`."""
        path = Path(self.log_dir) / ExperimentWriter.NAME_METRICS_FILE
        header, rows = _read(path)
        if "step" in header:
            column = header.index("step")
            kept = [row for row in rows if not row[column].isdecimal() or int(row[column]) < step]
            if len(kept) < len(rows):
                _write(path, header, kept)

    def finalize(self, status: str) -> None:
        if self.writer is not None:
            self.save()


class _AppendingWriter(ExperimentWriter):
    NAME_METRICS_FILE = ".metrics.csv"  # does not exist, so Lightning finds nothing to delete

    def __init__(self, log_dir: str) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*will be deleted")
            super().__init__(log_dir)
        self.path = Path(log_dir) / ExperimentWriter.NAME_METRICS_FILE
        self.metrics_file_path = str(self.path)
        self.metrics_keys, rows = _read(self.path)
        if self.path.is_file() and not self.path.read_bytes().endswith(b"\n"):
            if self.metrics_keys:
                _write(self.path, self.metrics_keys, rows)  # a killed process left half a row
            else:
                self.path.unlink()

    def save(self) -> None:
        with files.named(self.path):
            super().save()

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        """Adds columns. Lightning empties the file first, and a kill then loses all rows."""
        header, rows = _read(self.path)
        named = [dict(zip(header, row, strict=True)) for row in rows]
        _write(self.path, fieldnames, [[row.get(k, "") for k in fieldnames] for row in named])


def _read(path: Path) -> tuple[list[str], list[list[str]]]:
    """Returns the header and the complete rows; a kill or a full disk may leave half a row."""
    if not path.is_file():
        return [], []
    lines = path.read_text().splitlines(keepends=True)
    header, *rows = [*csv.reader(line for line in lines if line.endswith("\n"))] or [[]]
    return header, [row for row in rows if len(row) == len(header)]


def _write(path: Path, header: list[str], rows: list[list[str]]) -> None:
    def save(partial: Path) -> None:
        with partial.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([header, *rows])

    files.write(path, save)

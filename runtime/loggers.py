"""A run's own loggers: `metrics.csv`, which survives a resume, and TensorBoard."""

import csv
import itertools
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only, rank_zero_warn

from runtime import files


class RunCSVLogger(CSVLogger):
    """Writes `metrics.csv`. Continues an existing file; after a crash no step is there twice.

    Lightning's deletes the file of an earlier process, and empties it to add a column.

    Args:
        folder: The run's folder.
        writes: False: only name the folder. `metrics.json` has the scores of `validate` and `test`.
    """

    def __init__(self, folder: Path, writes: bool = True) -> None:
        super().__init__(folder.parent, "", folder.name)
        self.path, self.writes = folder / "metrics.csv", writes
        self._columns: list[str] | None = None  # None: the file has not been looked at
        self._rows: list[dict[str, Any]] = []  # not written yet

    @property
    def experiment(self) -> Any:
        """The logger itself, because no service is behind it."""
        return self

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: `config.yaml` and TensorBoard have them."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        row = {name: getattr(value, "item", lambda v=value: v)() for name, value in metrics.items()}
        self._rows.append(row | {"step": step})

    @rank_zero_only
    def save(self) -> None:
        if not (self._rows and self.writes):
            return
        if self._columns is None:
            self._columns = self.forget_after()
        elif not self.path.exists():
            rank_zero_warn(
                f"{self.path} was removed while its run trains. A new one begins, and checkpoints "
                "follow there. Nothing keeps a second process from training this run."
            )
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._columns = []
        columns = sorted({*self._columns, *(name for row in self._rows for name in row)})
        if columns != self._columns:
            _write(self.path, columns, _read(self.path)[1])
            self._columns = columns
        with files.file_errors(self.path), self.path.open("a", newline="") as file:
            csv.DictWriter(file, columns, lineterminator="\n").writerows(self._rows)
        self._rows = []

    def forget_after(self, step: float = float("inf")) -> list[str]:
        """Removes the rows of later steps and what a crash has left of rows; returns columns.

        A file that is no log is renamed, so that the run can continue.
        """
        try:
            columns, rows = _read(self.path)
            kept = [row for row in rows if not float(row["step"] or 0) > step]
        except (KeyError, ValueError, csv.Error):
            self._set_aside()
            return []
        damaged = columns and files.complete_lines(self.path) != self.path.read_text()
        if lost := _count_lines(self.path) - 1 - len(rows) if columns else 0:
            rank_zero_warn(f"{self.path}: {lost} damaged rows, as of a crash, are left out.")
        if damaged or lost or len(kept) < len(rows):
            _write(self.path, columns, kept)
        return columns

    def _set_aside(self) -> None:
        names = (self.path.with_name(f"metrics.broken{k or ''}.csv") for k in itertools.count())
        kept = next(path for path in names if not os.path.lexists(path))
        self.path.rename(kept)
        rank_zero_warn(f"{self.path} is no log of a run. It is {kept} now, and a new one begins.")

    def finalize(self, status: str) -> None:
        self.save()


def _read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Returns the header and the complete rows."""
    header, *rows = [*csv.reader(files.complete_lines(path).splitlines())] or [[]]
    return header, [dict(zip(header, row, strict=True)) for row in rows if len(row) == len(header)]


def _count_lines(path: Path) -> int:
    return len(path.read_text(errors="replace").splitlines())


def _write(path: Path, columns: list[str], rows: list[dict[str, str]]) -> None:
    def save(partial_file: Path) -> None:
        with partial_file.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    files.write(path, save)


class RunTensorBoardLogger(TensorBoardLogger):
    """Lightning's TensorBoard logger, which says with the folder's name what the disk refuses."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder.parent, "", folder.name, default_hp_metric=False)

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        with self._named():
            super().log_metrics(metrics, step)

    def save(self) -> None:
        with self._named():
            super().save()

    def finalize(self, status: str) -> None:
        # A run that fails already ends with an error.
        with suppress(OSError) if status != "success" else self._named():
            super().finalize(status)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Names the folder. Lightning takes the disk's error for a value that is no number."""
        with files.file_errors(Path(self.log_dir)):
            try:
                yield
            except ValueError as error:
                raise (error.__cause__ if isinstance(error.__cause__, OSError) else error) from None

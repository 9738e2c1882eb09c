"""A run's loggers: `metrics.csv`, TensorBoard, and those that the user adds."""

import csv
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import (
    CSVLogger,
    Logger,
    MLFlowLogger,
    TensorBoardLogger,
    WandbLogger,
)
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_only

from runtime import files
from runtime.errors import UserError
from runtime.files import read_json, write_json

# The command line makes a function of a logger's class and arguments. It is called when the run's
# folder is known, because these loggers take their folder and run as arguments.
LoggerFactory = Callable[[], Logger]

IDS = "loggers.json"  # in a run's folder: which run of W&B or MLflow it is
PACKAGES = {  # of loggers: the module to import, and how to install it
    "WandbLogger": ("wandb", '-e ".[wandb]"'),
    "MLFlowLogger": ("mlflow", '-e ".[mlflow]"'),
    "CometLogger": ("comet_ml", "comet-ml"),
}


class RunCSVLogger(CSVLogger):
    """Writes `metrics.csv`. Continues a file, and has each step once after a crash.

    Lightning's deletes the file of an earlier process, and empties it to add a column.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder.parent, "", folder.name)
        self.path = folder / "metrics.csv"
        self._columns: list[str] | None = None  # None: the file has not been looked at
        self._rows: list[dict[str, Any]] = []  # not written yet
        self.step: int | None = None  # of all values; None: as given

    @property
    def experiment(self) -> Any:
        """The logger itself, because no service is behind it."""
        return self

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: `config.yaml` and TensorBoard have them."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        row = {name: getattr(value, "item", lambda v=value: v)() for name, value in metrics.items()}
        self._rows.append(row | {"step": step if self.step is None else self.step})

    @rank_zero_only
    def save(self) -> None:
        if not self._rows:
            return
        if self._columns is None:
            self._columns = self._repaired()
        columns = sorted({*self._columns, *(name for row in self._rows for name in row)})
        if columns != self._columns:
            _write(self.path, columns, _read(self.path)[1])
            self._columns = columns
        with files.named(self.path), self.path.open("a", newline="") as file:
            csv.DictWriter(file, columns, lineterminator="\n").writerows(self._rows)
        self._rows = []

    def _repaired(self) -> list[str]:
        """Returns the file's columns, after removing half a row that a killed process left."""
        columns, rows = _read(self.path)
        if columns and not self.path.read_bytes().endswith(b"\n"):
            _write(self.path, columns, rows)
        return columns

    def forget_after(self, step: int) -> None:
        """Removes the rows of later steps."""
        columns, rows = _read(self.path)
        kept = [row for row in rows if not row["step"].isdecimal() or int(row["step"]) <= step]
        if len(kept) < len(rows):
            _write(self.path, columns, kept)

    def finalize(self, status: str) -> None:
        self.save()


def _read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Returns the header and the complete rows; a kill or a full disk may leave half a row."""
    if not path.is_file():
        return [], []
    lines = path.read_text().splitlines(keepends=True)
    header, *rows = [*csv.reader(line for line in lines if line.endswith("\n"))] or [[]]
    return header, [dict(zip(header, row, strict=True)) for row in rows if len(row) == len(header)]


def _write(path: Path, columns: list[str], rows: list[dict[str, str]]) -> None:
    def save(partial_file: Path) -> None:
        with partial_file.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    files.write(path, save)


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


def missing_package(names: Iterable[str]) -> str:
    """Returns which package to install for the loggers of these names; empty if all are there."""
    for name in names:
        module, install = PACKAGES.get(name, ("", ""))
        if module and find_spec(module) is None:
            return (
                f"trainer.logger: {name} needs the package {module}, which is not installed: "
                f"`pip install {install}`."
            )
    return ""


def check(factories: Sequence[LoggerFactory]) -> None:
    """Refuses a logger whose package is not installed, before anything is written."""
    for make in factories:
        if text := missing_package(base.__name__ for base in class_of(make).__mro__):
            raise UserError(text)


def class_of(make: LoggerFactory) -> type:
    """Returns the class that a factory makes; `Logger` if it is some other function."""
    return make.args[-1] if isinstance(make, partial) else Logger


def start(factories: Sequence[LoggerFactory], folder: Path) -> list[Logger]:
    """Makes the user's loggers for the run in a folder. Call it on rank zero alone.

    Writes the identifiers of their runs to the folder, so that whoever resumes the run, or tests
    it, continues the same runs of W&B and MLflow.
    """
    ids, loggers = read_json(folder / IDS), list[Logger]()
    for number, make in enumerate(factories):
        kind, options = class_of(make), getattr(make, "keywords", {})
        key = f"{kind.__name__}_{number}"
        try:
            logger = make(**_options_of(kind, options, folder, ids.get(key)))
            if isinstance(logger, WandbLogger | MLFlowLogger):
                _ = logger.experiment  # starts its run
                ids[key] = logger.version
                write_json(folder / IDS, ids)
        except Exception as error:
            text = f"trainer.logger: {kind.__name__} cannot start: {error}"
            raise UserError(text) from error
        loggers.append(logger)
    return loggers


def _options_of(
    kind: type, options: dict[str, Any], folder: Path, run: str | None
) -> dict[str, Any]:
    """Returns what the user left open: where a logger writes, and which run it continues."""
    name = f"{folder.parent.name}/{folder.name}"
    if issubclass(kind, WandbLogger):
        offline = options["offline"] or os.environ.setdefault("WANDB_MODE", "offline") == "offline"
        if offline:
            rank_zero_info(
                f"W&B logs offline; `wandb sync {folder}/wandb/offline-run-*` uploads, "
                "WANDB_MODE=online uploads while training."
            )
        return {
            "name": options["name"] or name,
            "save_dir": folder if options["save_dir"] == "." else options["save_dir"],
            "version": options["version"] or run,
            "resume": "allow",
            "offline": offline,
        }
    if issubclass(kind, MLFlowLogger):
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # else MLflow wants a database
        shared = str(folder.parent.parent / "mlruns")
        return {
            "run_name": options["run_name"] or name,
            "save_dir": shared if options["save_dir"] == "./mlruns" else options["save_dir"],
            "run_id": options["run_id"] or run,
        }
    return {}

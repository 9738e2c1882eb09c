"""Results of a run: named, printed and recorded."""

from typing import Any

from lightning import Trainer
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from datamodules.data_module import DataModule
from figures.pictures import run_folder
from runtime.errors import UserError
from runtime.files import METRICS, read_json, write_json


def datamodule_of(trainer: Trainer) -> DataModule | None:
    """Returns the run's DataModule if it follows this project's contract, otherwise None."""
    data = trainer.datamodule  # type: ignore[attr-defined]  # set by a connector
    return data if isinstance(data, DataModule) else None


def rank_zero_print(trainer: Trainer, text: str) -> None:
    """Prints text on rank zero, on a new line even if a progress bar is open."""
    if trainer.is_global_zero:
        Tqdm.write(text)


def record(trainer: Trainer, stage: str, scores: dict[str, Any]) -> None:
    """Writes the results of `val` or `test` into metrics.json. Every rank must call it."""
    if (folder := run_folder(trainer)) is not None:
        path = folder / METRICS
        try:
            known = read_json(path)
        except UserError as error:  # must not end a test that has scored for minutes
            rank_zero_warn(f"{error}. It is overwritten.")
            known = {}
        write_json(path, {**known, stage: scores})

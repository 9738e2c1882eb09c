"""`metrics.json`: what `validate` and `test` found, kept in the run's folder."""

from typing import Any

from lightning import Trainer

from callbacks.figures import figures_folder
from runtime.files import read_json, write_json

FILE = "metrics.json"


def record(trainer: Trainer, stage: str, found: dict[str, Any]) -> None:
    """Writes the results of a stage (`val` or `test`) beside those of the other.

    Args:
        trainer: Of the run; ranks other than zero write nothing, but must call.
        stage: `val` or `test`.
        found: Plain values; `scores` maps names to numbers.
    """
    figures = figures_folder(trainer)
    if figures is None:
        return
    path = figures.parent / FILE
    write_json(path, {**read_json(path), stage: found})

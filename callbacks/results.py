"""Results of `validate` and `test` in the run folder's `metrics.json`."""

from typing import Any

from lightning import Trainer

from callbacks.figures import figures_folder
from runtime.files import read_json, write_json

FILE = "metrics.json"


def record(trainer: Trainer, stage: str, found: dict[str, Any]) -> None:
    """Writes the results of one stage and keeps those of the other.

    Args:
        trainer: The run's Trainer. Every rank must call this; only rank zero writes.
        stage: `val` or `test`.
        found: Plain values; `scores` maps names to numbers. NaN becomes null.
    """
    figures = figures_folder(trainer)
    if figures is None:
        return
    path = figures.parent / FILE
    write_json(path, {**read_json(path), stage: found})

"""`metrics.json`: what `validate` and `test` found, kept in the run's folder."""

import json
import math
from pathlib import Path
from typing import Any

from lightning import Trainer

from callbacks.figures import figures_folder, write

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
    known = read(path)
    text = json.dumps(_finite({**known, stage: found}), indent=2) + "\n"
    write(path, lambda file: file.write_text(text))


def read(path: Path) -> dict[str, Any]:
    """The results by stage; none where there is no such file yet, or it cannot be read."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def _finite(value: Any) -> Any:
    """JSON knows no NaN: null stands for what could not be computed."""
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

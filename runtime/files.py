"""Files that are written whole or not at all. Imports nothing heavy."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

METRICS = "metrics.json"  # scores of a run, in its folder


def write(path: Path, save: Callable[[Path], object]) -> None:
    """Writes a file atomically: it appears complete, under its final name, or not at all.

    The content is on the disk before the file gets its final name, so that this also holds if the
    machine loses power. `save` gets a path in the same folder, with the same suffix.
    """
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        save(partial)
        with partial.open("r+b") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Writes plain values as JSON. Numbers that are not finite become null, as JSON requires."""
    text = json.dumps(_finite(value), indent=2, allow_nan=False) + "\n"
    write(path, lambda file: file.write_text(text))


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object. It is empty if the file does not exist or is not valid JSON."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

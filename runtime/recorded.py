"""The scores of a run in `metrics.json`: for each stage a list, of which the newest is the last."""

from itertools import chain
from pathlib import Path
from typing import Any

from runtime.errors import UserError, printable
from runtime.files import METRICS, read_json


def read_recorded(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Reads the recorded results of a run by stage; none without that file.

    Raises:
        UserError: If the file is damaged, or an earlier version wrote it.
    """
    path = folder / METRICS
    try:
        found = read_json(path)
        if any(isinstance(entries, dict) for entries in found.values()):
            raise UserError(f"{path} was written by an earlier version")
        for stage, entries in found.items():
            if not (isinstance(entries, list) and all(map(_is_sound, entries))):
                raise UserError(f"{path}: a result of {printable(repr(stage))} is damaged")
    except UserError as error:
        raise UserError(f"{error}: `python cli.py test {folder}` writes it anew") from None
    return found


def _is_sound(entry: Any) -> bool:
    """Returns whether an entry has values of the right types: somebody else may have made it."""
    match entry:
        case {
            "checkpoint": {"name": str() | None, "step": int() | None},
            "data": {"title": str(), "content": str() | None, "counts": dict() as counts},
            "own_data": bool(),
            "seed": int() | None,
            "time": str(),
            "scores": dict() as scores,
        }:
            floor, intervals = entry.get("floor", {}), entry.get("intervals", {})
            if not (isinstance(floor, dict) and isinstance(intervals, dict)):
                return False
            pairs = [*intervals.values()]
            sound = all(isinstance(pair, list) and len(pair) == 2 for pair in pairs)
            numbers = chain(scores.values(), floor.values(), *(pairs if sound else ()))
            whole = all(isinstance(count, int) for count in counts.values())
            return sound and whole and all(map(_is_number, numbers))
    return False


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not abs(value) > 1e300)

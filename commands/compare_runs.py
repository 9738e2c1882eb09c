"""Runs on disk, read for `compare` and `sweep`: settings, scores and what was logged.

Imports neither torch nor Lightning, except for the direction of a quality score.
"""

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import yaml

from runtime.errors import UserError
from runtime.files import METRICS, read_json

RECORDS = ("config.yaml", METRICS, "metrics.csv")  # a folder with one of them is a run
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster, if it is there
LOGGED = {  # what models log; `metrics.SCORES` has the scores of generated images
    "loss": "lower", "d_loss": "lower", "sup_error": "lower", "calibration_error": "lower",
    "accuracy": "higher",
}  # fmt: skip


@dataclass
class Run:
    """The settings and results of a run."""

    folder: Path
    name: str  # the part of its path in which it differs from other runs
    settings: dict[str, Any]  # by dotted names
    scores: dict[str, float | None]  # by stage and name: `test/frechet`; None: not computable
    floors: dict[str, float | None]  # scores of real images


def find_runs(places: Iterable[Path]) -> list[Path]:
    """Returns the folders of all runs in or below some folders."""
    found: list[Path] = []
    for place in places:
        runs = {file.parent for name in RECORDS for file in place.glob(f"**/{name}")}
        found += sorted(runs, key=_natural)
    return list(dict.fromkeys(found))


def _natural(path: Path) -> list[Any]:
    """Returns a key that sorts `version_10` after `version_9`."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", str(path))]


def read_runs(folders: Sequence[Path], stages: Sequence[str]) -> list[Run]:
    """Reads the runs in these folders, with their scores of these stages."""
    names = _names(folders)
    return [Run(f, names[f], settings_of(f), *scores_of(f, stages)) for f in folders]


def _names(folders: Sequence[Path]) -> dict[Path, str]:
    """Shortens paths: without what all share, and without `version_N` if there is no other."""
    paths = {folder: folder.resolve() for folder in folders}
    shared = [
        set(level) for level in zip(*(path.parts[:-1] for path in paths.values()), strict=False)
    ]
    start = next((i for i, level in enumerate(shared) if len(level) > 1), len(shared))
    parents = [path.parent for path in paths.values()]
    names = {}
    for folder, path in paths.items():
        parts = path.parts[start:]
        only = len(parts) > 1 and parents.count(path.parent) == 1
        names[folder] = "/".join(parts[:-1] if only else parts)
    return names


def settings_of(folder: Path) -> dict[str, Any]:
    """Reads the values in a run's `config.yaml` by their dotted names; empty without that file."""
    file = folder / "config.yaml"
    try:
        return dict(_flat(yaml.load(file.read_bytes(), LOADER))) if file.is_file() else {}
    except yaml.YAMLError as error:
        raise UserError(f"{file}: not valid YAML. Leave this run out.") from error


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yields each value of a config with its dotted name; a class stands for its `class_path`."""
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        yield name, str(value) if isinstance(value, list) else value
        return
    for key, item in value.items():
        if key == "class_path":
            yield name, str(item).rpartition(".")[2]
        else:
            yield from _flat(item, name if key == "init_args" else f"{name}.{key}".strip("."))


def scores_of(
    folder: Path, stages: Sequence[str]
) -> tuple[dict[str, float | None], dict[str, float | None]]:
    """Reads a run's scores, and those of real images, by stage and name.

    `metrics.json` takes precedence. For a stage that is not in it, the scores are the last values
    in `metrics.csv`, which has none of real images.
    """
    recorded, logged = read_json(folder / METRICS), logged_by(folder)
    scores: dict[str, float | None] = {}
    floors: dict[str, float | None] = {}
    for stage in stages:
        if found := recorded.get(stage):
            scores |= {f"{stage}/{name}": value for name, value in found["scores"].items()}
            floors |= {f"{stage}/{name}": value for name, value in found.get("floor", {}).items()}
        else:
            names = [name for name in logged if name.startswith(f"{stage}/")]
            scores |= {
                name: values.iloc[-1] for name in names if len(values := logged[name].dropna())
            }
    return scores, floors


def logged_by(folder: Path) -> pd.DataFrame:
    """Reads a run's `metrics.csv`, also while the run writes it; empty without that file."""
    file = folder / "metrics.csv"
    text = file.read_text() if file.is_file() else ""
    whole = text[: text.rfind("\n") + 1]  # a last row without its end is not complete
    return pd.read_csv(io.StringIO(whole)) if whole else pd.DataFrame()


def better(metric: str) -> Literal["lower", "higher"] | None:
    """Returns which values of a metric such as `val/loss` are better; None if that is unknown."""
    name = metric.rpartition("/")[2].partition("_class_")[0]
    if name in LOGGED:
        return LOGGED[name]  # type: ignore[return-value]
    from metrics import SCORES  # takes seconds

    return next((score.better for score in SCORES if score.name == name), None)

"""Refuses run folders and checkpoints that would import code that the user did not choose.

A checkpoint and a run's `config.yaml` name the classes from which a model is built. Python runs a
module when it is imported, so a folder that somebody else made could run any code. Without
`--trust true` they may name only classes in this project's folder or in the libraries below, and
those that the user's own command line or config files name.
"""

import importlib.util
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from runtime.errors import UserError

PROJECT = Path(__file__).resolve().parent.parent
LIBRARIES = ("lightning", "torch", "torchmetrics")
CLASS_KEYS = ("class_path", "_class_path", "_instantiator")
INSTANTIATOR = "lightning.pytorch.cli.instantiate_module"  # the only one that Lightning writes
TEXTS = ("path", "data_dir", "default_root_dir", "function", "experiment", "ckpt_path", "labels")
_IMPORT_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


def check_trust(values: Any, source: str, own: Iterable[str] = ()) -> None:
    """Refuses values that name a class of a module that is not trusted.

    Args:
        values: Plain values of a config or of a checkpoint's hyperparameters.
        source: Where they come from, for the message.
        own: Import paths that the user named; their modules are trusted as well.
    """
    if isinstance(values, Mapping) and values.get("_instantiator", INSTANTIATOR) != INSTANTIATOR:
        raise UserError(f"{source} names another _instantiator than {INSTANTIATOR}")
    for path in foreign_classes(values, own):
        raise UserError(
            f"{source} names the class {path}, which is not of this project, and importing it "
            "runs its code. If you know who made it, add --trust true."
        )


def foreign_classes(values: Any, own: Iterable[str] = ()) -> Iterator[str]:
    """Yields the import paths in plain values whose modules are not trusted."""
    chosen = {path.partition(".")[0] for path in own}
    for path in import_paths(values):
        name = path.partition(".")[0]
        if name not in chosen and not _is_trusted(name):
            yield path


def import_paths(
    values: Any, key: str = "", seen: set[tuple[int, str]] | None = None
) -> Iterator[str]:
    """Yields the import paths in plain values, also those that stand for a class without a key.

    A part that occurs often, as YAML's aliases do, is looked at once.
    """
    seen = set() if seen is None else seen
    if isinstance(values, Mapping | list | tuple):
        if (id(values), key) in seen:
            return
        seen.add((id(values), key))
        pairs = values.items() if isinstance(values, Mapping) else ((key, v) for v in values)
        for name, value in pairs:
            yield from import_paths(value, str(name), seen)
    elif (
        isinstance(values, str)
        and _IMPORT_PATH.fullmatch(values)
        and (key in CLASS_KEYS or (key not in TEXTS and _file_of(values.partition(".")[0])))
    ):
        yield values


def _is_trusted(name: str) -> bool:
    """Returns whether a top-level module is a library, or lies in the project's own folder.

    Runs and downloads may lie in that folder as well, so it must be directly in it.
    """
    own = (PROJECT / f"{name}.py", PROJECT / name / "__init__.py")
    return name in LIBRARIES or Path(_file_of(name)).resolve() in own


def _file_of(name: str) -> str:
    """Returns the file of a top-level module, which this does not import; empty if there is none.

    Of a module without a file, such as a folder without `__init__.py`, it is the name.
    """
    try:
        found = importlib.util.find_spec(name)
    except ValueError:  # `__main__`
        return name
    return (found.origin or name) if found else ""

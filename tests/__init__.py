"""Hides the optional libraries from tests without a mark, also if they are installed."""

import re
import sys
import tomllib
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path


def optional_libraries(pyproject: Path) -> set[str]:
    """Returns the import names of installed libraries that `make test` does not install."""
    project = tomllib.loads(pyproject.read_text())["project"]
    groups = project["optional-dependencies"]
    installs, all_groups = project["dependencies"] + groups["dev"], sum(groups.values(), [])
    first, others = ({re.split(r"[^\w.-]", text)[0] for text in x} for x in (installs, all_groups))
    found = set()
    for name in others - first:
        try:
            paths = files(name) or []
        except PackageNotFoundError:
            continue
        found |= {path.parts[0] for path in paths if path.parts[1:] == ("__init__.py",)}
    return found


OPTIONAL = optional_libraries(Path(__file__).parent.parent / "pyproject.toml")


class Hiding(PathFinder):
    """Finds modules as Python does, but not those that are hidden.

    `None` in `sys.modules` would hide them as well, but scikit-learn looks there for pyarrow.
    """

    hidden = OPTIONAL

    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        if fullname.partition(".")[0] in cls.hidden:
            return None
        return super().find_spec(fullname, path, target)


sys.meta_path[sys.meta_path.index(PathFinder)] = Hiding

"""Prints the exact versions of the packages that this project needs, for `pip install -c`.

Of the environment's packages, those that pyproject.toml needs, directly or through others; not
those of the extras that have an environment of their own.
"""

import json
import re
import sys
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

SEPARATE = ("audit", "bench", "docs")  # extras that `make` installs elsewhere
HEADER = """\
# Exact versions with which all tests passed, Python {python}.  pip install -c constraints.txt -e .
# `make constraints` writes this file from the environment. pyproject.toml has the allowed ranges.
"""


def direct(pyproject: Path = Path("pyproject.toml")) -> list[Requirement]:
    """Returns what pyproject.toml requires, with the extras that share the environment."""
    project = tomllib.loads(pyproject.read_text())["project"]
    extras = project.get("optional-dependencies", {}).items()
    lines = project["dependencies"] + [
        line for extra, lines in extras if extra not in SEPARATE for line in lines
    ]
    return [Requirement(line) for line in lines]


def pins(requirements: list[Requirement]) -> dict[str, str]:
    """Returns the installed versions of packages and of all that they need, by name.

    A version is the public one: of torch 2.13.0+cpu, 2.13.0, which suits every machine.

    Raises:
        SystemExit: If a package comes from a folder or a file, which nobody else has.
    """
    found: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    queue = [(requirement, "") for requirement in requirements]
    while queue:
        requirement, extra = queue.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        try:
            package = distribution(name)
        except PackageNotFoundError:  # of an extra that is not installed
            continue
        if is_local(package):
            sys.exit(f"error: {name} comes from a folder or a file: install a release of it")
        found[name] = Version(package.version).public
        for wanted in {"", *requirement.extras}:
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                queue += [(Requirement(line), wanted) for line in package.requires or ()]
    return dict(sorted(found.items()))


def is_local(package: Distribution) -> bool:
    """Returns whether a package was installed from a folder, a file or a repository."""
    source = package.read_text("direct_url.json")
    return source is not None and not re.match("https?:", json.loads(source)["url"])


def main() -> None:
    requirements = direct()
    found = pins(requirements)
    if missing := {canonicalize_name(r.name) for r in requirements} - found.keys():
        sys.exit(f"error: not installed: {', '.join(sorted(missing))}. Run `make test-extras`.")
    print(HEADER.format(python=".".join(map(str, sys.version_info[:2]))), end="")
    print(*(f"{name}=={version}" for name, version in found.items()), sep="\n")


if __name__ == "__main__":
    main()

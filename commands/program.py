"""Command lines that can be pasted into the shell that started this process."""

import shlex
import shutil
import sys
from pathlib import Path


def python() -> str:
    """Returns the name of the running interpreter in this shell, or else its path."""
    if _is_on_path("python"):
        return "python"
    path = Path(sys.executable)
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


def cli() -> str:
    """Returns the start of a command line of this program: interpreter and script."""
    script = sys.argv[0] if Path(sys.argv[0]).name == "cli.py" else "cli.py"  # a notebook has none
    return f"{python()} {shlex.quote(script)}"


def tensorboard() -> str:
    """Returns the start of a command line of the running interpreter's TensorBoard."""
    return "tensorboard" if _is_on_path("tensorboard") else f"{python()} -m tensorboard.main"


def _is_on_path(name: str) -> bool:
    """Returns whether the shell finds this name beside the running interpreter.

    Paths are compared as they are, because the interpreters of all environments are links to one.
    """
    found = shutil.which(name)
    return found is not None and Path(found).absolute().parent == Path(sys.executable).parent

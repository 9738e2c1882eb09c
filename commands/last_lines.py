"""The last lines of a command: its run's folder and pictures, and the command that comes next."""

import shlex
import shutil
import sys
from pathlib import Path

EXAMPLES = ("samples", "function_fit", "decision_surface", "confusion_val", "curves")


def cli() -> str:
    """Returns the start of a command line of this program: interpreter and script."""
    script = sys.argv[0] if Path(sys.argv[0]).name == "cli.py" else "cli.py"  # a notebook has none
    return f"{_program('python', '')} {shlex.quote(script)}"


def _program(name: str, module: str) -> str:
    """Returns a program's name if the shell finds it beside this interpreter, else its path.

    Paths are compared as they are, because the interpreters of all environments are links to one.
    """
    found, python = shutil.which(name), Path(sys.executable)
    if found and Path(found).absolute().parent == python.parent:
        return name
    here = Path.cwd()
    path = python.relative_to(here) if python.is_relative_to(here) else python
    return shlex.quote(str(path)) + module


def written_at(run: Path | None) -> dict[str, int]:
    """Returns when each picture in a run's `figures/` was written, by its name."""
    found = (run / "figures").glob("[!.]*.png") if run else ()
    return {path.name: path.stat().st_mtime_ns for path in found}


def pictures_of_training(run: Path) -> list[str]:
    """Says where the pictures of a run are, with two examples; nothing if there are none."""
    there = written_at(run)
    shown = [name for name in (f"{stem}.png" for stem in EXAMPLES) if name in there]
    names = " and ".join((shown or sorted(there))[:2])
    return [f"Pictures: {run / 'figures'}, such as {names}"] if there else []


def new_pictures(run: Path, before: dict[str, int]) -> list[str]:
    """Names the pictures that were written since `before`; nothing if there are none."""
    new = [name for name, time in sorted(written_at(run).items()) if before.get(name) != time]
    return [f"Pictures: {run / 'figures'}: {', '.join(new)}"] if new else []


def watching(runs: Path) -> str:
    """Says how to see all runs in TensorBoard."""
    program = _program("tensorboard", " -m tensorboard.main")
    return f"Watch it: {program} --logdir {shlex.quote(str(runs))} --host localhost"

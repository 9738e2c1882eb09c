"""The commands of `cli.py` in one table. Imports nothing heavy.

`fit`, `validate` and `test` are Lightning's. Every other command is a plain function with typed
arguments and a Google docstring, in the file of its name, and can be called from Python as well:
see `commands.arguments` for what it may declare. Outside this folder a function needs no entry: the
command line takes its import path instead of a name.
"""

import difflib
import pkgutil
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from commands.errors import ROOT, did_you_mean
from commands.help_texts import FIT, SCORE
from runtime import cpu
from runtime.errors import UserError

COMMANDS = {  # what each does, in one line that begins with a verb
    "fit": "Train a model",
    "validate": "Score a trained model on the validation split",
    "test": "Score a trained model on the official test set",
    "predict": "Write a trained model's predictions for its test data, or for image files",
    "sample": "Draw images from a trained generator",
    "maximize": "Draw what a network has learned",
    "export": "Write a trained model into files for ONNX Runtime, PyTorch or a browser",
    "compare": "List runs, or compare their results in a table",
    "sweep": "Repeat a run with several seeds, or search settings",
    "demo": "Play with trained models in a browser",
}
LIGHTNING = ("fit", "validate", "test")


def run(args: list[str], lightning: Callable[[list[str]], Any]) -> Any:
    """Runs a command and returns its result.

    Args:
        args: The command line, which begins with the name or the import path of a command.
        lightning: Runs the commands of Lightning.
    """
    if not args:
        print(help_text(), file=sys.stderr)
        raise SystemExit(2)
    name, *options = args
    if name in ("-h", "--help", "help"):
        return print(help_text())
    if name in ("-V", "--version"):
        return print(version_text())
    cpu.let_waiting_threads_sleep()  # before anything imports torch
    if name in LIGHTNING:
        if not {"-h", "--help"}.isdisjoint(options) and "all" not in options:
            score = SCORE.format(command=name, summary=COMMANDS[name])
            return print(FIT if name == "fit" else score)
        return lightning(args)
    function = find(name)
    from commands import arguments  # needs jsonargparse

    return arguments.call(function, name, options)


def find(name: str) -> Callable[..., Any]:
    """Returns the function of the command with this name or import path.

    The error for an unknown name lists those that are near, also by the first word of their
    summary: `tain` is near `Train`, which means `fit`.
    """
    if name in COMMANDS:
        return pkgutil.resolve_name(f"commands.{name}:{name}")
    if "." in name and "/" not in name:
        return _import(name)
    verbs = {summary.split()[0].lower(): known for known, summary in COMMANDS.items()}
    words = verbs | {known: known for known in COMMANDS}
    near = dict.fromkeys(words[word] for word in difflib.get_close_matches(name, words))
    raise UserError(
        f"there is no command '{name}': one of {', '.join(COMMANDS)}.{did_you_mean(near)}"
    )


def _import(path: str) -> Callable[..., Any]:
    """Returns the function at an import path, for which the current folder is searched too."""
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        found = pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"there is no command '{path}': {error}. See `cli.py --help`.") from error
    if not callable(found) or isinstance(found, type):
        raise UserError(f"there is no command '{path}': it is not a function.")
    return found


def help_text() -> str:
    """Returns the help that lists all commands."""
    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items())
    return (
        f"usage: python cli.py COMMAND [OPTIONS]\n\ncommands:\n{lines}\n\n"
        "Options of a command:  python cli.py COMMAND --help\n"
        "Versions:              python cli.py --version\n"
        "A first run:           python cli.py fit --config configs/gates.yaml"
    )


def version_text() -> str:
    """Returns the versions of this project, PyTorch and Lightning."""
    own = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    found = ", ".join(f"{package} {version(package)}" for package in ("torch", "lightning"))
    return f"Ladder {own} ({found})"

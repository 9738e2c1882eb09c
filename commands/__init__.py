"""The commands of `cli.py` in one table. Imports nothing heavy.

`fit`, `validate` and `test` are Lightning's. Every other command is a plain function with typed
arguments and a Google docstring, in its own file, and can be called from Python as well: see
`commands.arguments` for what it may declare. A function that has no entry here is called by its
import path instead of a name.
"""

import pkgutil
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from commands import terminal
from commands.fit.help_texts import FIT, SCORE
from commands.fit.lightning_run import run_lightning
from runtime import cpu
from runtime.errors import UserError, did_you_mean
from runtime.files import ROOT

LIGHTNING = "commands.fit.lightning_run:run_lightning"
COMMANDS = {  # the import path of each, and what it does in one line that begins with a verb
    "fit": (LIGHTNING, "Train a model"),
    "validate": (LIGHTNING, "Score a trained model on the validation split"),
    "test": (LIGHTNING, "Score a trained model on the official test set"),
    "predict": (
        "commands.predict:predict",
        "Write a trained model's predictions for its test data, or for image files",
    ),
    "sample": ("commands.sample:sample", "Generate images with a trained generator"),
    "maximize": (
        "commands.maximize:maximize",
        "Compute images that show what a network has learned",
    ),
    "export": (
        "commands.export:export",
        "Write a trained model into files for ONNX Runtime, PyTorch or a browser",
    ),
    "compare": ("commands.compare:compare", "List runs, or compare their results in a table"),
    "sweep": ("commands.sweep:sweep", "Repeat a run with several seeds, or search settings"),
    "cache": ("commands.cache:cache", "List or clear the decoded images of earlier runs"),
    "demo": ("commands.demo:demo", "Play with trained models in a browser"),
}


def run(args: list[str], own_process: bool) -> Any:
    """Runs a command and returns its result.

    Args:
        args: The command line, which begins with the name or the import path of a command.
        own_process: Handle signals, because this is the process's own command line.
    """
    if not args:
        print(help_text(), file=sys.stderr)
        raise SystemExit(2)
    name, *options = args
    if name in ("-h", "--help", "help"):
        return print(help_text())
    if name in ("-V", "--version"):
        return print(version_text())
    cpu.limit_thread_spinning()  # before anything imports torch
    path, summary = COMMANDS.get(name, ("", ""))
    if path == LIGHTNING:
        if not {"-h", "--help"}.isdisjoint(options) and "all" not in options:
            return print(FIT if name == "fit" else SCORE.format(command=name, summary=summary))
        return run_lightning(args, own_process)
    with cpu.imports(own_process):
        function = find_command(name)
        from commands import arguments  # needs jsonargparse

    with terminal.without_irrelevant_messages():
        terminal.shorten_warnings()
        return arguments.call(function, name, options)


def find_command(name: str) -> Callable[..., Any]:
    """Returns the function of the command with this name or import path.

    The error for an unknown name lists those that are near, also by their meaning: `tain` is near
    `train`, which means `fit`.
    """
    if name in COMMANDS:
        return pkgutil.resolve_name(COMMANDS[name][0])
    if "." in name and "/" not in name:
        return _import(name)
    from commands.rewording import suggest

    near = suggest(name, [*COMMANDS, "--version"])
    if Path(name).exists():
        option = "fit --config" if Path(name).is_file() else "test"
        near = [f"`python cli.py {option} {name}`"]
    raise UserError(
        f"there is no command '{name}': one of {', '.join(COMMANDS)}.{did_you_mean(near)}"
    )


def _import(path: str) -> Callable[..., Any]:
    """Returns the function at an import path, for which the current folder is searched too."""
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        function = pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"there is no command '{path}': {error}. See `cli.py --help`.") from error
    if not callable(function) or isinstance(function, type):
        raise UserError(f"there is no command '{path}': it is not a function.")
    return function


def help_text() -> str:
    """Returns the help that lists all commands."""
    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items())
    return (
        f"usage: python cli.py COMMAND [OPTIONS]\n\ncommands:\n{lines}\n\n"
        "Options of a command:  python cli.py COMMAND --help\n"
        "Versions:              python cli.py --version\n"
        "A first run:           python cli.py fit --config configs/gates.yaml"
    )


def version_text() -> str:
    """Returns the versions of this project, PyTorch and Lightning."""
    own = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    versions = ", ".join(f"{package} {version(package)}" for package in ("torch", "lightning"))
    return f"Ladder {own} ({versions})"

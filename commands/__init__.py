"""The commands of `cli.py` in one table. Imports nothing heavy.

A new command is one module in this folder and one entry in `COMMANDS`. There are two kinds:

- A command that needs a Trainer is a class with a typed and documented method of the command's
  name. The command line's Trainer inherits the class, and LightningCLI makes the method's
  parameters into options.
- A light command is a function that takes the list of its arguments. It starts without torch and
  Lightning, so its module must import neither, and it reports mistakes as `UserError`.

Outside this folder, a command needs no entry: the command line takes its import path instead of a
name. The method of a class `Report` is then `report`.
"""

import difflib
import pkgutil
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from commands.errors import did_you_mean
from runtime.errors import UserError

ROOT = Path(__file__).parent.parent


class Command(NamedTuple):
    """An entry in the table of commands."""

    summary: str  # one line for the help, which begins with a verb
    path: str = ""  # import path `module:name` of the class or function; Lightning's own have none
    light: bool = False  # a function that needs no Trainer
    needs_data: Callable[[Any], object] = lambda options: True  # with these options
    needs_checkpoint: bool = False  # refuses random weights

    def load(self) -> Any:
        return pkgutil.resolve_name(self.path)


COMMANDS = {
    "fit": Command("Train a model"),
    "validate": Command("Score a trained model on the validation split"),
    "test": Command("Score a trained model on the official test set"),
    "predict": Command(
        "Write a trained model's predictions for its test data, or for image files",
        "commands.predict:Prediction",
        needs_data=lambda options: options.files is None,
    ),
    "sample": Command(
        "Draw images from a trained GAN",
        "commands.sample:Generation",
        needs_data=lambda options: options.neighbors,
        needs_checkpoint=True,
    ),
    "maximize": Command("Draw what a network has learned", "commands.maximize:Maximization"),
    "export": Command(
        "Write a trained model into files for ONNX Runtime or plain PyTorch",
        "commands.wrappers:export",
        light=True,
    ),
    "compare": Command(
        "Compare the results of several runs in a table", "commands.functions:compare", True
    ),
    "sweep": Command(
        "Repeat a run with several seeds, or search settings", "commands.functions:sweep", True
    ),
    "demo": Command("Play with trained models in a browser", "commands.wrappers:demo", True),
}


ELSEWHERE = {  # what some expect to be a command
    "plot": "a run's pictures are in RUN/figures, and `ladder.figure(run, 'network')` shows one in "
    "Python.",
}


def named(args: list[str]) -> list[str]:
    """Replaces the import path of a command by its name, under which it joins the table."""
    path = args[0] if args else ""
    if "." not in path or ":" in path or path.startswith("-"):
        return args
    try:
        found = pkgutil.resolve_name(path)
    except ValueError:  # not an import path, so `find` explains
        return args
    except (ImportError, AttributeError) as error:
        raise UserError(f"there is no command '{path}': {error}. See `cli.py --help`.") from error
    light = not isinstance(found, type)
    name = path.rpartition(".")[2].lower()
    if not callable(found if light else getattr(found, name, None)):
        wanted = "a function" if light else f"a class with a method '{name}'"
        raise UserError(f"there is no command '{path}': it is not {wanted}.")
    doc = found.__doc__ if light else getattr(found, name).__doc__ or found.__doc__
    summary = (doc or path).strip().splitlines()[0].rstrip(".")
    command = Command(summary, path, light)
    if COMMANDS.get(name, command).path != path:
        raise UserError(f"{path}: there is a command '{name}' already. Give yours another name.")
    COMMANDS[name] = command
    return [name, *args[1:]]


def typed(name: str) -> str:
    """Returns what a user types for a command: its import path, if that is outside the table."""
    path = COMMANDS[name].path if name in COMMANDS else ""
    return name if not path or ":" in path else path


def find(name: str) -> Command:
    """Returns the command of this name.

    The error for an unknown one names those that are near, also by the first word of their
    summary: `tain` is near `Train`, which means `fit`.
    """
    if name in COMMANDS:
        return COMMANDS[name]
    if name in ELSEWHERE:
        raise UserError(f"there is no command '{name}': {ELSEWHERE[name]}")
    verbs = {command.summary.split()[0].lower(): known for known, command in COMMANDS.items()}
    words = verbs | {known: known for known in COMMANDS}
    near = dict.fromkeys(words[word] for word in difflib.get_close_matches(name, words))
    raise UserError(
        f"there is no command '{name}': one of {', '.join(COMMANDS)}.{did_you_mean(near)}"
    )


def help_text() -> str:
    """Returns the help that lists all commands."""
    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {name:<{width}}  {c.summary}" for name, c in COMMANDS.items())
    return (
        f"usage: python cli.py COMMAND [OPTIONS]\n\ncommands:\n{lines}\n\n"
        "Options of a command:  python cli.py COMMAND --help\n"
        "Versions:              python cli.py --version\n"
        "A first run:           python cli.py fit --config configs/gates.yaml"
    )


def version_text() -> str:
    """Returns the versions of this project, PyTorch and Lightning."""
    own = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    packages = (f"{package} {version(package)}" for package in ("torch", "lightning"))
    return f"Ladder {own} ({', '.join(packages)})"


def run_light(args: list[str]) -> bool:
    """Runs the help or a light command, which need no Lightning, and returns whether it did."""
    if not args:
        print(help_text(), file=sys.stderr)
        raise SystemExit(2)
    if args[0] in ("-h", "--help", "help"):
        print(help_text())
    elif args[0] in ("-V", "--version"):
        print(version_text())
    elif args[0].startswith("-") and not args[0].startswith("--print_"):
        command = next((arg for arg in args if arg in COMMANDS), "fit")
        example = f"such as `python cli.py {command} {args[0]} ...`"
        raise UserError(f"{args[0]}: options come after a command. Write it first, {example}.")
    elif args[0].startswith("-") or not find(args[0]).light:  # `--print_shtab=bash`
        return False
    else:
        find(args[0]).load()(args[1:])
    return True

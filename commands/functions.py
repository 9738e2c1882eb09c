"""Calls `compare` and `sweep` with a command line, until the table of commands does so itself."""

import inspect
import json
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any, NoReturn

import jsonargparse

from runtime.errors import UserError


class LightParser(ArgumentParser):
    """The parser of a light command, which raises its errors."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}. `python {self.prog} --help` lists the options.")


def compare(args: list[str]) -> None:
    """Runs `compare`."""
    from commands.compare import compare as function

    words = next((i for i, arg in enumerate(args) if arg.startswith("-")), len(args))
    runs = [f"--runs={json.dumps(args[:words])}"] if words else []
    options = ["--list=true" if arg == "--list" else arg for arg in args[words:]]
    _call(function, [*runs, *options], "compare")


def sweep(args: list[str]) -> None:
    """Runs `sweep`, whose `fit` gets all words that are not its own options."""
    from commands.sweep import sweep as function

    own, fit = split(args)
    _call(function, own, "sweep", fit=fit)


def split(args: list[str]) -> tuple[list[str], list[str]]:
    """Returns the words of sweep's own options and those of fit."""
    from commands.sweep import sweep as function

    own: list[str] = []
    fit: list[str] = []
    names = ("--help", *(f"--{name}" for name in inspect.signature(function).parameters))
    taker = fit
    for arg in args:
        if arg.startswith("--"):
            taker = own if arg.partition("=")[0] in names else fit
        taker.append(arg)
    return own, fit


def _call(function: Callable[..., Any], args: list[str], name: str, **others: Any) -> None:
    parser = jsonargparse.ArgumentParser(prog=f"cli.py {name}", exit_on_error=False)
    parser.add_function_arguments(function, as_group=False, skip=set(others))
    try:
        values = parser.parse_args(args).as_dict()
    except (jsonargparse.ArgumentError, TypeError) as error:
        raise UserError(str(error)) from None
    function(**values, **others)

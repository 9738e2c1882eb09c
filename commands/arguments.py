"""Parses the command line of a command that is a function, and shared helpers.

A function's parameters become options of the same name, with the types and texts that it declares:

- The first parameter, if it has no default or is called `run` or `runs`, also takes the words that
  stand before all options. `--ckpt_path` is another name for `run`, because `fit` and `test` call
  it so.
- A list takes several words, `--classes 3 1 4`, or one, `--classes 3,1,4`.
- `--gif` alone means true.
- A parameter `fit: list[str]` receives the words of all options that are not the function's own.
"""

import difflib
import json
import os
import re
from argparse import Action
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
from jsonargparse import ArgumentError, ArgumentParser, DefaultHelpFormatter

from commands import config_files, rewording
from results import Run
from runtime.errors import UserError, did_you_mean, require_printable

REST = "fit"
PLAIN = (str, int, float, os.PathLike)  # values that may stand for others

T = TypeVar("T")


def call(function: Callable[..., Any], name: str, args: list[str]) -> Any:
    """Calls a function with its arguments from a command line, and returns its result."""
    hints, parameters = get_type_hints(function), signature(function).parameters
    if untyped := [key for key in parameters if key not in hints]:
        raise UserError(f"{name}: {untyped[0]} has no type: write one, such as `{untyped[0]}: str`")
    known = {key: hints[key] for key in parameters}
    takes_rest = known.pop(REST, None) is not None
    first = next(iter(known), "")
    positional = first in ("run", "runs") or (
        first in known and parameters[first].default is Parameter.empty
    )
    parser = ArgumentParser(
        prog=f"python cli.py {name}",
        usage=f"python cli.py {name} {f'{first.upper()} ' if positional else ''}[OPTIONS]",
        formatter_class=HelpInWords,
        allow_abbrev=False,
        exit_on_error=False,
    )
    parser.add_function_arguments(function, skip={REST} if takes_rest else set())
    asks_for_help = not {"--help", "-h"}.isdisjoint(args)
    own, rest = (
        (["--help"], []) if asks_for_help else split(args, known, first if positional else None)
    )
    if rest and not takes_rest:
        own += rest
    try:
        values = parser.parse_args(own).as_dict()
    except ArgumentError as error:
        raise UserError(
            rewording.explain_parser_error(str(error), [name, *args], known, {})
        ) from None
    return function(**values, **({REST: rest} if takes_rest else {}))


def checked(function: Callable[..., T]) -> Callable[..., T]:
    """Returns a function that takes from Python what its options take from a command line.

    Text may stand for a path or a number, one value for a list, and a run for a model in memory.
    An argument of type Any is passed on as it is.

    Raises:
        UserError: In a call, an argument is missing, unknown or of another type.
    """
    kinds = get_type_hints(function)

    @wraps(function)
    def call(*args: Any, **options: Any) -> T:
        try:
            given = signature(function).bind(*args, **options)
        except TypeError as error:
            unknown = next((name for name in options if name not in kinds), "")
            near = difflib.get_close_matches(unknown, kinds, n=1)
            raise UserError(f"{function.__name__}: {error}.{did_you_mean(near)}") from None
        for name, value in given.arguments.items():
            given.arguments[name] = _converted(name, value, kinds[name])
        return function(*given.args, **given.kwargs)

    return call


def _converted(name: str, value: Any, kind: Any) -> Any:
    """Converts an argument to its type, as the parser of a command line does."""
    parts, text = {kind, *get_args(kind)}, str(kind)
    if Any in parts or (value is None and type(None) in parts):
        return value
    classes = [x for x in parts if isinstance(x, type) and not issubclass(x, (*PLAIN, type(None)))]
    if classes:  # of a model in memory
        if isinstance(value, *classes):
            return value
        path = _converted(name, value, Path)
        return path if Path in parts else Run.find(path).model()
    several = is_list(kind) and isinstance(value, Iterable) and not isinstance(value, PLAIN)
    values = [*value] if several and not isinstance(value, Mapping) else [value]
    values = [x.item() if isinstance(x, np.generic) else x for x in values]
    wanted = (str, os.PathLike) if "Path" in text else PLAIN
    if wrong := [type(x).__name__ for x in values if not isinstance(x, wanted)]:
        expected = "a path" if "Path" in text else "text or a number"
        raise UserError(f"--{name}: expected {expected}, got {wrong[0]}.")
    if "[str]" in text:
        values = [*map(str, values)]
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument(f"--{name}", type=kind)
    try:
        return parser.parse_object({name: values if is_list(kind) else values[0]})[name]
    except ArgumentError as error:
        raise UserError(rewording.explain_parser_error(str(error), [name], [], {})) from None


class HelpInWords(DefaultHelpFormatter):
    """Shows options without Python's types, which the texts say in words."""

    def _expand_help(self, action: Action) -> str:
        text = super()._expand_help(action)
        if not (facts := re.search(r" \((?:required, )?type: .*?(?:, default: (.*))?\)$", text)):
            return text
        shown = facts[1] not in (None, "null", "False")
        return text[: facts.start()] + f" (default: {facts[1]})" * shown

    def _format_action_invocation(self, action: Action) -> str:
        return re.sub(r", --\S+\+.*", "", super()._format_action_invocation(action))  # `--classes+`


def split(args: list[str], known: dict[str, Any], first: str | None) -> tuple[list[str], list[str]]:
    """Writes each known option as one word, `--name=value`, and returns the other words apart.

    Args:
        args: The command line after the command's name.
        known: The names of options with their types.
        first: The option that the words before all options belong to; None: none.
    """
    values: dict[str, list[str]] = {}
    rest: list[str] = []
    taker = first  # the option that a word without dashes belongs to
    for word in args:
        option, equals, value = word.partition("=")
        name = option.removeprefix("--")
        name = "run" if name == "ckpt_path" and "run" in known else name
        if option.startswith("--") and name in known:
            values.setdefault(name, []).extend([value] if equals else [])
            taker = name if is_list(known[name]) or not equals else None
        elif word.startswith("-") and not word[1:].isdecimal():
            rest.append(word)
            taker = None
        elif taker is None:
            rest.append(word)
        else:
            values.setdefault(taker, []).append(word)
            taker = taker if is_list(known[taker]) else None
    return [f"--{name}={_joined(name, words, known[name])}" for name, words in values.items()], rest


def _joined(name: str, words: list[str], kind: Any) -> str:
    """Returns the value of an option in the form that jsonargparse reads."""
    if not words and kind is not bool:
        raise UserError(f"--{name} needs a value: write one after it.")
    if is_list(kind):
        return json.dumps([value for word in words for value in _values_of(word, kind)])
    return words[-1] if words else "true"


def _values_of(word: str, kind: Any) -> list[str]:
    """Returns the values in a word: those of `3,1,4` or `[3, 1, 4]`, or a file with a comma."""
    if "Path" in str(kind) and not word.startswith("["):
        return [word]
    return [part.strip(" '\"") for part in word.strip("[]").split(",")]


def is_list(kind: Any) -> bool:
    """Returns whether a type is a list, or one of several that is."""
    return any(get_origin(part) in (list, Sequence) for part in (kind, *get_args(kind)))


def is_overlay(file: Path) -> bool:
    """Returns whether a config only completes others: one in `trainer/` or `logger/`."""
    return file.parent.name in ("trainer", "logger")


def given_data(args: list[str]) -> set[str] | None:
    """Returns the user's options for the data of a run; None: all data are the user's own."""
    names = {name for name, _ in config_files.values(args)}
    own = [file for file in config_files.given_files(args) if not is_overlay(file)]
    if "--data" in names or not all(map(config_files.is_of_run, own)):
        return None
    return {name.rpartition(".")[2] for name in names if name.startswith("--data.")}


def experiment_name(files: list[Path], class_path: str, given: str | None = None) -> str:
    """Returns the name of an experiment: the one given, or its first config file's or model's.

    Examples: `configs/cgan.yaml` is `cgan`, `configs/lecture/gan.yaml` is `lecture-gan`, and
    `runs/cgan/version_3/config.yaml` is `cgan`. Overlays, in `configs/trainer/` and
    `configs/logger/`, do not count.
    """
    if given and (Path(given).is_absolute() or ".." in Path(given).parts):
        raise UserError(f"--experiment {given}: give a name, which becomes a folder below runs/.")
    for name in (given or "", *files):
        require_printable(name)
    if given:
        return given
    for file in files:
        if file.name == "config.yaml":  # of a run
            return file.parent.parent.name
        if not is_overlay(file):
            parts = file.with_suffix("").parts
            start = parts.index("configs") + 1 if "configs" in parts else -1
            return "-".join(parts[start:])
    return class_path.rpartition(".")[2].lower()

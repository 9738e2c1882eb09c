"""The space of a search: a YAML file with options of `fit` and their possible values.

    model.optimizer.lr: {low: 0.001, high: 0.1, log: true}
    model.network.hidden: [[16], [32], [16, 16]]
    data.batch_size: {low: 16, high: 64, step: 16}

A range whose limits are integers has integer values. Imports nothing heavy.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from commands.errors import did_you_mean
from runtime.errors import UserError

RANGE = ("low", "high", "log", "step")
RESERVED = ("ckpt_path", "config", "experiment", "trainer.callbacks", "trainer.default_root_dir")


class Values(NamedTuple):
    """Possible values of an option: the kind and the arguments of Optuna's `suggest_<kind>`."""

    kind: str
    arguments: dict[str, Any]

    @property
    def first(self) -> Any:
        """The first choice, or the lower limit."""
        return (self.arguments.get("choices") or [self.arguments.get("low")])[0]


def read(file: Path) -> dict[str, Values]:
    """Reads the possible values of each option."""
    if not file.is_file():
        raise UserError(f"--space {file}: no such file.")
    try:
        space = yaml.safe_load(file.read_text())
    except OSError as error:
        raise UserError(f"--space {file}: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{file}:{mark.line + 1}" if mark else f"{file}"
        raise UserError(f"{place}: not valid YAML, {getattr(error, 'problem', error)}.") from error
    if not isinstance(space, dict) or not space:
        raise UserError(
            f"{file}: not a space. It needs a line for each option, such as "
            "`data.batch_size: [64, 128]` or `model.penalties.r1: {low: 0.1, high: 10}`."
        )
    return {str(option): _values(values, f"{file}: {option}") for option, values in space.items()}


def _values(values: Any, place: str) -> Values:
    option = place.rpartition(": ")[2]
    if option in RESERVED:
        raise UserError(f"{place} is set by sweep for each run: leave it out.")
    if isinstance(values, list):
        if not values:
            raise UserError(f"{place}: the list of choices is empty. Give two or more.")
        return Values("categorical", {"choices": [_plain(value) for value in values]})
    if not isinstance(values, dict):
        example = f"`{option}: [{values}]` or `{option}: {{low: ..., high: ...}}`"
        raise UserError(f"{place}: expected a list of choices or a range, {example}.")
    return _range(values, place)


def _range(values: Mapping[str, Any], place: str) -> Values:
    if unknown := [key for key in values if key not in RANGE]:
        near = did_you_mean(key for key in RANGE if str(unknown[0])[:1] == key[:1])
        nested = " An option is one dotted name, such as `model.optimizer.lr`."
        hint = nested if isinstance(values[unknown[0]], dict | list) else near
        text = f"a range has low, high, log and step, not '{unknown[0]}'."
        raise UserError(f"{place}: {text}{hint}")
    if missing := [key for key in ("low", "high") if key not in values]:
        raise UserError(f"{place}: a range needs {' and '.join(missing)}.")
    numbers = {k: _number(values[k], k, place) for k in ("low", "high", "step") if k in values}
    low, high, step, log = numbers["low"], numbers["high"], numbers.get("step"), values.get("log")
    if not isinstance(log, bool | None):
        raise UserError(f"{place}: log is true or false, not '{log}'.")
    if low > high:
        raise UserError(f"{place}: low {low} is above high {high}.")
    if log and low <= 0:
        raise UserError(f"{place}: a logarithmic range needs a low above 0, not {low}.")
    if step is not None and (log or step <= 0):
        wrong = "a logarithmic range has no step" if log else f"step {step} is not above 0"
        raise UserError(f"{place}: {wrong}.")
    kind = "int" if all(isinstance(number, int) for number in numbers.values()) else "float"
    return Values(kind, numbers | ({"log": True} if log else {}))


def _number(value: Any, key: str, place: str) -> int | float:
    """Returns a number; YAML takes one like 1e-4, without a point, for a text."""
    try:
        if isinstance(value, bool):
            raise ValueError
        return value if isinstance(value, int) else float(value)
    except (TypeError, ValueError):
        raise UserError(f"{place}: {key} is a number, not '{value}'.") from None


def _plain(value: Any) -> Any:
    """Returns a choice in a form that Optuna can store: a list or a mapping becomes text."""
    return value if isinstance(value, str | int | float) else json.dumps(value)


def as_options(values: Mapping[str, Any]) -> list[str]:
    """Returns options of `fit` with these values."""
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in values.items()}
    return [f"--{option}={text}" for option, text in texts.items()]


def overlay(config: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a config with nothing but some options of a complete config.

    In files, unlike in options, the arguments of a class are below `init_args`.
    """
    result: dict[str, Any] = {}
    for option in sorted(values, key=len):  # a class comes before its arguments
        source, target = config, result
        *path, leaf = option.split(".")
        for key in path:
            source, target = _arguments(source, target)
            source, target = source.get(key) or {}, target.setdefault(key, {})
        source, target = _arguments(source, target)
        target[leaf] = source.get(leaf, values[option])
    return result


def _arguments(source: Any, target: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    if "class_path" not in source:
        return source, target
    target.setdefault("class_path", source["class_path"])
    return source.get("init_args", {}), target.setdefault("init_args", {})

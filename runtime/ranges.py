"""Ranges of arguments: declared in their types, checked in one place. Imports nothing heavy.

`def __init__(self, width: Positive = 64, dropout: Share = 0.0)` declares two. `check_ranges`
refuses a value outside, with its dotted name.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pkgutil import resolve_name
from typing import Annotated, Any, NamedTuple, get_args, get_type_hints

from runtime.errors import UserError


class Range(NamedTuple):
    """Numbers from `low` to `high`."""

    low: float
    high: float = math.inf
    above: bool = False  # `low` itself is outside
    below: bool = False  # `high` itself is outside

    def __contains__(self, value: Any) -> bool:
        starts = self.low < value if self.above else self.low <= value
        return starts and (value < self.high if self.below else value <= self.high)

    def __repr__(self) -> str:
        low = f"more than {self.low:,.12g}" if self.above else f"{self.low:,.12g} or more"
        if math.isinf(self.high):
            return low
        return f"{low}, but {'less' if self.below else 'not more'} than {self.high:,.12g}"


Positive = Annotated[int, Range(1)]
NonNegative = Annotated[int, Range(0)]
Count = Annotated[int, Range(1, 10**8)]  # of examples, which must fit in memory
SEEDS = Range(0, 2**32 - 1)  # what NumPy takes
Seed = Annotated[int, SEEDS]
PositiveFloat = Annotated[float, Range(0, above=True)]
NonNegativeFloat = Annotated[float, Range(0)]
Share = Annotated[float, Range(0, 1, below=True)]  # 1 would leave nothing
Probability = Annotated[float, Range(0, 1)]


def check_values(values: Mapping[str, Any], ranges: Mapping[str, Range], prefix: str) -> None:
    """Refuses values outside the ranges of the same name."""
    for name in values.keys() & ranges.keys():
        _check_value(f"{prefix}{name}", values[name], ranges[name])


def check_ranges(owner: Callable[..., Any], values: Mapping[str, Any], prefix: str) -> None:
    """Refuses values outside the ranges that a function, or a class and its bases, declare.

    A value that names a class, as a mapping of `class_path` and `init_args`, is checked as well.

    Args:
        owner: A function or a class.
        values: Arguments by name. Others are not looked at.
        prefix: What precedes a name in the message, such as `model.` or `--`.
    """
    declared = ranges_of(owner)
    for name, value in values.items():
        if isinstance(value, Mapping) and "class_path" in value:
            nested = resolve_name(value["class_path"])
            check_ranges(nested, value.get("init_args") or {}, f"{prefix}{name}.")
        elif name in declared:
            _check_value(f"{prefix}{name}", value, declared[name])


def _check_value(name: str, value: Any, allowed: Range) -> None:
    for number in value if isinstance(value, list | tuple) else [value]:
        if isinstance(number, int | float) and number not in allowed:
            raise UserError(f"{name} is {number}: set it to {allowed}")


@cache
def ranges_of(owner: Callable[..., Any]) -> dict[str, Range]:
    """Returns the declared ranges by the names of the arguments."""
    bases = reversed(owner.__mro__) if isinstance(owner, type) else [owner]
    found: dict[str, Range] = {}
    for base in bases:
        function = vars(base).get("__init__") if isinstance(base, type) else base
        for name, hint in _hints(function).items():
            for allowed in _ranges_in(hint):
                found[name] = allowed
    return found


def _hints(function: Any) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except (NameError, TypeError):  # annotations of others, which cannot be evaluated here
        return {}


def _ranges_in(hint: Any) -> Iterator[Range]:
    for part in get_args(hint):
        if isinstance(part, Range):
            yield part
        else:
            yield from _ranges_in(part)

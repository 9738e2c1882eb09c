"""Rounds, medians and spread: how contenders are compared on a machine with other load."""

import statistics
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import NamedTuple, TypeVar

Name = TypeVar("Name", bound=Hashable)


class Spread(NamedTuple):
    """The quartiles of some measurements."""

    low: float
    median: float
    high: float

    def text(self, scale: float = 1.0) -> str:
        """Formats `median (low-high)`, each multiplied by `scale`, to three digits."""
        low, median, high = (digits(value * scale) for value in self)
        return f"{median} ({low}-{high})"


def digits(value: float) -> str:
    """Formats a number to three significant digits, or to an integer from 100 on: 0.0123, 1,230."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip(".")


def spread(values: Sequence[float]) -> Spread:
    """Computes median and quartiles; each is a measured value or the mean of two neighbors."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    return Spread(*statistics.quantiles(values, n=4, method="inclusive"))


def ratio(slow: Sequence[float], fast: Sequence[float]) -> Spread:
    """Computes the speed-up per round, because load changes both contenders of a round alike."""
    return spread([a / b for a, b in zip(slow, fast, strict=True)])


def interleave(
    contenders: Mapping[Name, Callable[[], float]], rounds: int
) -> dict[Name, list[float]]:
    """Takes one measurement of each contender per round.

    The order rotates by one per round, so that no contender always follows the same neighbor.

    Returns:
        The measurements of each contender, one per round.
    """
    names = list(contenders)
    found: dict[Name, list[float]] = {name: [] for name in names}
    for i in range(rounds):
        k = i % len(names)
        for name in names[k:] + names[:k]:
            found[name].append(contenders[name]())
    return found

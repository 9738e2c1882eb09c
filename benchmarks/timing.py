"""Rounds, medians and spread: how contenders are compared on a machine that is never quiet."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple


class Spread(NamedTuple):
    """The quartiles of some measurements."""

    low: float
    median: float
    high: float

    def text(self, scale: float = 1.0) -> str:
        """`median (low-high)`, each times `scale`, to three digits."""
        low, median, high = (digits(value * scale) for value in self)
        return f"{median} ({low}-{high})"


def digits(value: float) -> str:
    """A number to three significant digits, and to all of them from 100 on: 0.0123, 1.23, 1,230."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip(".")


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles, as values that were measured or means of two neighbours of them."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    return Spread(*statistics.quantiles(values, n=4, method="inclusive"))


def ratio(slow: Sequence[float], fast: Sequence[float]) -> Spread:
    """How many times faster: the quotients of the same rounds, which share the machine's moods."""
    return spread([a / b for a, b in zip(slow, fast, strict=True)])


def interleave(
    contenders: Mapping[str, Callable[[], float]], rounds: int
) -> dict[str, list[float]]:
    """Asks each contender once a round for a measurement.

    The order turns by one a round, so that no contender always follows the same neighbour.

    Returns:
        The measurements of each contender, one a round.
    """
    names = list(contenders)
    found: dict[str, list[float]] = {name: [] for name in names}
    for i in range(rounds):
        k = i % len(names)
        for name in names[k:] + names[:k]:
            found[name].append(contenders[name]())
    return found


def timed(action: Callable[[], object]) -> float:
    """Seconds that one call takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start

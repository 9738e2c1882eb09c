"""Confidence intervals (95 %) of fractions of examples."""

import math
from typing import Any

import numpy as np

NORMAL_95 = 1.959964  # deviations of a normal distribution that hold 95 % of it
ENOUGH = 100  # a score of fewer examples says so
RESAMPLES = 2000

Interval = tuple[float, float]


def wilson_interval(fraction: float, count: int) -> Interval:
    """Returns the interval of a fraction of `count` examples (Wilson 1927).

    Unlike a bootstrap interval, it has a width also at 0 and 1. NaN: there are no examples.
    """
    if not count:
        return math.nan, math.nan
    z = NORMAL_95**2 / count
    center, width = fraction + z / 2, math.sqrt(z * (fraction * (1 - fraction) + z / 4))
    return (center - width) / (1 + z), (center + width) / (1 + z)


def interval_of_mean(hits: Any, counts: Any) -> Interval:
    """Returns the interval of the mean over classes of `hits` among `counts` examples, both (K,).

    By bootstrap: examples of each class are drawn again. If all or none are right in each class,
    which leaves that no width, it is Wilson's.
    """
    hits, counts = (np.asarray(values)[np.asarray(counts) > 0] for values in (hits, counts))
    draws = np.random.default_rng(0).binomial(counts, hits / counts, (RESAMPLES, len(counts)))
    low, high = np.percentile((draws / counts).mean(axis=1), [2.5, 97.5]).tolist()
    mean = float((hits / counts).mean())
    return (low, high) if low < high else wilson_interval(mean, int(counts.sum()))


def few(count: int) -> list[str]:
    """Returns a line that says that a score is of few examples, if it is."""
    return [f"Fewer than {ENOUGH} examples: others may score otherwise."] if count < ENOUGH else []


def in_percent(interval: Interval) -> str:
    """Formats an interval, such as `[83.3, 99.4]`."""
    return "[{:.1f}, {:.1f}]".format(*(100 * limit for limit in interval))

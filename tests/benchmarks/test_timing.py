"""Rounds, medians and spread."""

import itertools

import pytest

from benchmarks.timing import Spread, digits, interleave, ratio, spread


def test_spread_is_the_quartiles():
    assert spread([5.0, 1.0, 3.0, 2.0, 4.0]) == Spread(2.0, 3.0, 4.0)
    assert spread([7.0]) == Spread(7.0, 7.0, 7.0)


def test_a_ratio_is_taken_within_rounds():
    """A machine that is ten times slower in one round is so for both contenders."""
    assert ratio([2.0, 20.0, 2.0], [1.0, 10.0, 1.0]) == Spread(2.0, 2.0, 2.0)


def test_contenders_take_turns_and_the_first_place():
    asked: list[str] = []
    clock = itertools.count()

    def contender(name: str) -> float:
        asked.append(name)
        return float(next(clock))

    found = interleave({name: lambda n=name: contender(n) for name in "abc"}, rounds=3)
    assert asked == [*"abc", *"bca", *"cab"]
    assert found == {"a": [0.0, 5.0, 7.0], "b": [1.0, 3.0, 8.0], "c": [2.0, 4.0, 6.0]}


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234.5, "1,234"), (123.4, "123"), (12.34, "12.3"), (100 / 7, "14.3"), (0.01234, "0.0123")],
)
def test_numbers_have_three_digits(value, text):
    assert digits(value) == text


def test_a_spread_reads_as_median_and_quartiles():
    assert Spread(0.001, 0.002, 0.004).text(1e3) == "2.00 (1.00-4.00)"

"""Numbers outside the range of their type are refused, and the others stay plain numbers."""

from typing import Any

import pytest
from jsonargparse import ArgumentError, ArgumentParser

from runtime.ranges import (
    Count,
    Fraction,
    NonNegative,
    NonNegativeFloat,
    Positive,
    PositiveFloat,
    Probability,
    Seed,
    ranged,
)


def parsed(kind: Any, value: str) -> Any:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=kind)
    return parser.parse_args([f"--value={value}"]).value


@pytest.mark.parametrize(
    ("kind", "inside", "outside"),
    [
        (Positive, ["1", "1000000000"], ["0", "-1", "1.5", "many"]),
        (NonNegative, ["0"], ["-1", "true"]),
        (Count, ["1", "100000000"], ["0", "100000001"]),
        (Seed, ["0", "4294967295"], ["-1", "4294967296"]),
        (PositiveFloat, ["1e-9", "5"], ["0", "-1", "nan"]),
        (NonNegativeFloat, ["0"], ["-1e-9"]),
        (Fraction, ["0", "0.999"], ["1", "inf"]),
        (Probability, ["0", "1"], ["-0.1", "1.1"]),
        (ranged("Dozens", int, (">=", 12), ("<=", 144)), ["12", "144"], ["11", "145"]),
    ],
)
def test_ends_of_ranges(kind, inside, outside):
    for text in inside:
        value = parsed(kind, text)
        assert value == float(text)
        assert type(value) in (int, float)  # `weights_only=True` loads no subclass of them
    for text in outside:
        with pytest.raises(ArgumentError):
            parsed(kind, text)


def test_numbers_in_collections_and_in_classes_are_plain_too():
    assert parsed(tuple[Positive, ...], "[1,2]") == (1, 2)
    values = parsed(list[NonNegative] | None, "[0,3]")
    assert [type(value) for value in values] == [int, int]
    with pytest.raises(ArgumentError):
        parsed(list[NonNegative] | None, "[0,-3]")

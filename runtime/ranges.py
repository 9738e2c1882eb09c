"""Number types with a range, which the command line checks. Their values are plain numbers.

`def __init__(self, width: Positive = 64, dropout: Fraction = 0.0)` declares two. Each is made by
jsonargparse, except that a parsed value is a plain `int` or `float` and not an instance of the
type, so that `weights_only=True` loads every checkpoint.
"""

from typing import TYPE_CHECKING, Any

from jsonargparse import typing as numbers


def ranged(name: str, kind: type, *restrictions: tuple[str, float]) -> Any:
    """Returns a type of numbers, such as `ranged("Folds", int, (">=", 2), ("<=", 50))`."""
    created: Any = numbers.restricted_number_type(name, kind, [*restrictions])
    numbers.register_type(
        created, kind, lambda value: kind(created(value)), fail_already_registered=False
    )
    return created


if TYPE_CHECKING:
    Positive = int
    NonNegative = int
    Count = int
    Seed = int
    Port = int
    PositiveFloat = float
    NonNegativeFloat = float
    Fraction = float
    Probability = float
else:
    Positive = ranged("PositiveInt", int, (">", 0))
    NonNegative = ranged("NonNegativeInt", int, (">=", 0))
    Count = ranged("Count", int, (">=", 1), ("<=", 10**8))  # of examples, which must fit in memory
    Seed = ranged("Seed", int, (">=", 0), ("<=", 2**32 - 1))  # what NumPy takes
    Port = ranged("Port", int, (">=", 1), ("<=", 65535))
    PositiveFloat = ranged("PositiveFloat", float, (">", 0))
    NonNegativeFloat = ranged("NonNegativeFloat", float, (">=", 0))
    Fraction = ranged("Fraction", float, (">=", 0), ("<", 1))  # 1 would leave nothing
    Probability = ranged("ClosedUnitInterval", float, (">=", 0), ("<=", 1))

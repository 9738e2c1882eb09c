"""A correction of jsonargparse: a class that replaces another starts from its own defaults."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jsonargparse import _typehints


@contextmanager
def defaults_of_the_new_class() -> Iterator[None]:
    """Lets a class that replaces another start from its own defaults.

    When a class path changes, jsonargparse keeps all values of the previous class that the new one
    accepts, its defaults included: with `network: VGG16`, `dropout` would be the 0.0 of
    `ResidualConvNet` and not VGG's 0.5. Inside the block it keeps only values that the user chose.
    """
    name = "discard_init_args_on_class_path_change"
    own = vars(_typehints)[name]

    def discard(parser: Any, previous: Any, value: Any) -> None:
        if previous and "init_args" in previous and previous["class_path"] != value["class_path"]:
            arguments = previous["init_args"]
            for argument, default in _defaults(previous["class_path"]).items():
                if argument in arguments and arguments[argument] == default:
                    del arguments[argument]
        own(parser, previous, value)

    try:
        vars(_typehints)[name] = discard
        yield
    finally:
        vars(_typehints)[name] = own


def _defaults(class_path: str) -> dict[str, Any]:
    classes = reversed(_typehints.import_object(class_path).__mro__)  # a door of `trust`
    bases = [base for base in classes if "__init__" in vars(base)]
    parameters = (inspect.signature(base).parameters.items() for base in bases)
    return {name: parameter.default for items in parameters for name, parameter in items}

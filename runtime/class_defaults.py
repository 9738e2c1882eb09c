"""The init arguments with which jsonargparse builds a class, corrected before it reads them.

A class that replaces another starts from its own defaults. An option that a class has no more is
dropped from what an earlier version saved.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jsonargparse import _typehints

from runtime.errors import UserError


def drop_removed_options(cls: type, init_args: Any) -> None:
    """Drops arguments that `cls` has no more, which a saved config or checkpoint still has.

    A class names them with their old defaults in `removed_options`.

    Args:
        cls: A class, whose bases count, too.
        init_args: A mapping, or a namespace of jsonargparse. It is changed.

    Raises:
        UserError: One has another value than its old default, so that the run used it.
    """
    for base in cls.__mro__:
        for name, default in vars(base).get("removed_options", {}).items():
            if name in init_args and (value := init_args.pop(name)) != default:
                raise UserError(
                    f"{cls.__name__} has no option {name} any more, and here it is {value}: leave "
                    "it out, or use the version of this project that has it"
                )


@contextmanager
def corrected_init_args() -> Iterator[None]:
    """Lets a class that replaces another start from its own defaults, and drops removed options.

    When a class path changes, jsonargparse keeps all values of the previous class that the new one
    accepts, its defaults included: with `network: VGG16`, `dropout` would be the 0.0 of
    `ResidualConvNet` and not VGG's 0.5. Inside the block it keeps only values that the user chose.
    """
    name = "discard_init_args_on_class_path_change"
    own = vars(_typehints)[name]

    def discard(parser: Any, previous: Any, value: Any) -> None:
        for part in ("init_args", "dict_kwargs"):  # of configs, and of Lightning's checkpoints
            if arguments := value.get(part):
                drop_removed_options(_typehints.import_object(value["class_path"]), arguments)
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
    classes = reversed(_typehints.import_object(class_path).__mro__)  # `runtime.trust` guards this
    bases = [base for base in classes if "__init__" in vars(base)]
    parameters = (inspect.signature(base).parameters.items() for base in bases)
    return {name: parameter.default for items in parameters for name, parameter in items}

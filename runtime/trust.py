"""Builds the objects of a run folder or checkpoint without running code of its author.

A checkpoint and a run's `config.yaml` name the classes of a model and its data. Python runs a
module when it is imported, and jsonargparse also reads a string as YAML or opens it as a file.
Those of somebody else are built inside `only_trusted`: a name means a class of a written list, and
a string stays a string.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from jsonargparse import _actions, _paths, _typehints, _util

from runtime.errors import UserError, printable

LISTED = ("models", "datamodules", "torch.nn.modules", "torch.optim", "torch.optim.lr_scheduler")
ALSO_LISTED = (  # beside those in `__all__` of the modules above
    "lightning.pytorch.LightningDataModule",
    "lightning.pytorch.LightningModule",
    "metrics.judge.JudgeNetwork",
    "models.gan.losses.Minimax",
    "models.gan.losses.Relativistic",
)
CLASS_KEYS = ("class_path", "_class_path")
INSTANTIATOR = "lightning.pytorch.cli.instantiate_module"  # the only one that Lightning writes
MAX_VALUES, MAX_LEVELS = 100_000, 100  # values, and levels of them: more would take hours to build


def hyperparameters(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what Lightning builds a checkpoint's model from, also under its older keys."""
    parts = [
        checkpoint.get(key) or {} for key in ("hparams", "module_arguments", "hyper_parameters")
    ]
    if not all(isinstance(part, Mapping) for part in parts):
        raise UserError("the hyperparameters in this checkpoint are no mapping: give another")
    return {name: value for part in parts for name, value in part.items()}


def refusal(values: Any, own: Iterable[str] = ()) -> str:
    """Returns what is not trusted in plain values, in words; empty if everything is.

    Args:
        values: Of a config, or of a checkpoint's hyperparameters.
        own: Import paths that the user named. Their modules are trusted as well.
    """
    for key, value in leaves(values):
        if key in CLASS_KEYS:  # a name without a dot is looked up among imported classes
            if "." in str(value) and not (trusted_class(value) or _is_own(str(value), own)):
                return f"the class {value!s:.200}"
        elif key == "_instantiator" and value != INSTANTIATOR:
            return f"{key}: {value!s:.200}"
    return ""


def require_plain_keys(values: Any, source: str | Path) -> None:
    """Refuses keys that jsonargparse would join with others, `a.b` and `a+`, in nested values."""
    for key, value in values.items() if isinstance(values, Mapping) else ():
        if "." in str(key) or "+" in str(key):
            raise UserError(
                f"{source} has the key {printable(str(key))!r}: write it as nested keys, or add "
                "--trust true if you know who made it"
            )
        require_plain_keys(value, source)
    for value in values if isinstance(values, list) else ():
        require_plain_keys(value, source)


def leaves(values: Any, most: int = MAX_VALUES) -> Iterator[tuple[str, Any]]:
    """Yields the plain values in mappings and lists, each with the nearest key above it."""
    waiting, count = [("", values, 0)], 0
    while waiting:
        key, value, level = waiting.pop()
        if isinstance(value, Mapping | list | tuple | set | frozenset):
            count += len(value)
            if count > most or level > MAX_LEVELS:
                raise UserError(
                    f"a config or checkpoint stands for more than {most:,} values, or "
                    f"more than {MAX_LEVELS} levels of them: give another"
                )
            pairs = value.items() if isinstance(value, Mapping) else ((key, v) for v in value)
            waiting += [(str(name), part, level + 1) for name, part in pairs]
        else:
            yield key, value


def classes_in(values: Any) -> list[str]:
    """Returns the names of classes in plain values."""
    return [str(value) for key, value in leaves(values) if key in CLASS_KEYS]


def imported(name: str) -> Any:
    """Returns what an import path names in the modules that are imported already; None: nothing.

    It runs no code, not even that of a module with lazy imports.
    """
    parts = str(name).split(".")
    for end in range(len(parts) - 1, 0, -1):
        value: Any = sys.modules.get(".".join(parts[:end]))
        if value is not None:
            for part in parts[end:]:
                value = vars(value).get(part) if isinstance(value, ModuleType | type) else None
            return value
    return None


def trusted_class(name: Any) -> type | None:
    """Returns the class with an import path, if the list has it, by any of its names."""
    value = imported(name)
    return value if isinstance(value, type) and value in listed() else None


def listed() -> list[type]:
    """Returns the classes that a run of somebody else may name, of modules that are imported."""
    modules = [vars(sys.modules[name]) for name in LISTED if name in sys.modules]
    return [
        *(module[name] for module in modules for name in module["__all__"]),
        *map(imported, ALSO_LISTED),
    ]


def require_own_address(address: str) -> None:
    """Refuses data at an address that a run names, and the user does not."""
    for guard in _Guard.active:
        if address not in guard.addresses:
            raise UserError(
                f"{guard.source} names data at {printable(address)}, outside this machine. If you "
                "want to read them, add --trust true, or give your own --data.path"
            )


@contextmanager
def only_trusted(
    values: Any, source: str | Path, own: Iterable[Any] = (), addresses: Iterable[Any] = ()
) -> Iterator[None]:
    """Allows only trusted classes for objects that are built from `values` inside the block.

    Args:
        values: As for `refusal`.
        source: Where they come from, for the message.
        own: As for `refusal`. Words of other kinds do no harm.
        addresses: Of data, that the user named.

    Raises:
        UserError: If the values name anything else. It is raised at the end of the block as well,
            because jsonargparse tries another meaning of a value when one was refused.
    """
    texts = {value for _, value in leaves(values) if isinstance(value, str)}
    guard = _Guard(texts, {*map(str, own)}, {*map(str, addresses)}, source)
    guard.refused = refusal(values, guard.own)
    try:
        if not guard.refused:
            with guard.patches():
                yield
    finally:
        if guard.refused:
            reason = (
                "is not of this project and could run code or write elsewhere. If you know who "
                "made it, add --trust true."
            )
            if guard.refused.removeprefix("the class ").partition(".")[0] in LISTED:
                reason = (
                    "this version does not have. Use the version of this project that wrote it."
                )
            raise UserError(f"{source} names {guard.refused}, which {reason}") from None


class _Guard:
    """Intercepts the lookup of names and the parsing of strings."""

    active: ClassVar[list["_Guard"]] = []

    def __init__(
        self, texts: set[str], own: set[str], addresses: set[str], source: str | Path
    ) -> None:
        self.texts, self.own, self.addresses, self.source = texts, own, addresses, source
        self.refused = ""

    @contextmanager
    def patches(self) -> Iterator[None]:
        with ExitStack() as stack:
            for module in (_actions, _typehints, _util):
                stack.enter_context(_patched(module, "import_object", self._import))
                stack.enter_context(_patched(module, "load_value", self._load))
            stack.enter_context(_patched(_paths.Path, "__init__", self._open))
            self.active.append(self)
            stack.callback(self.active.remove, self)
            yield

    def _import(self, real: Any, name: Any, check_path: bool = True) -> Any:
        if not check_path or not isinstance(name, str) or "." not in name:
            return real(name, check_path)  # a type in the code, or no import path
        if kind := trusted_class(name):
            return kind
        if _is_own(name, self.own):
            return real(name, check_path)
        self.refused = self.refused or f"the class {name}"
        raise ImportError(f"{name} is not trusted")

    def _load(self, real: Any, value: str, *args: Any, **kwargs: Any) -> Any:
        return value if value in self.texts else real(value, *args, **kwargs)

    def _open(self, real: Any, file: Any, path: Any, *args: Any, **kwargs: Any) -> None:
        if isinstance(path, str) and path in self.texts:
            raise TypeError(f"{path} is not opened")
        real(file, path, *args, **kwargs)


@contextmanager
def _patched(owner: Any, name: str, door: Callable[..., Any]) -> Iterator[None]:
    """Replaces a function by a wrapper, which gets the function and its arguments."""
    real = vars(owner)[name]
    setattr(owner, name, lambda *args, **kwargs: door(real, *args, **kwargs))
    try:
        yield
    finally:
        setattr(owner, name, real)


def _is_own(name: str, own: Iterable[str]) -> bool:
    """Returns whether the user named this class, another of its module, or a library's by name."""
    module, _, short = name.rpartition(".")
    modules = {path.rpartition(".")[0] for path in own}
    of_library = name.partition(".")[0] in ("lightning", "torch", "torchmetrics")
    return module in modules or (of_library and short in own)

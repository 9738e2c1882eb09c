"""Builds the objects of a run folder or checkpoint without running code of its author.

A checkpoint and a run's `config.yaml` name the classes of a model, its data and its callbacks.
Python runs a module when it is imported, and jsonargparse also reads a string as YAML or opens it
as a file. Without `--trust true` they are built inside `only_trusted`: a name means a class that is
imported already and belongs to this project or to a library, and a string stays a string.
"""

import site
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from jsonargparse import _actions, _paths, _typehints, _util
from lightning import Callback, LightningDataModule
from lightning.pytorch.strategies import Strategy
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from runtime.errors import UserError, printable

PROJECT = Path(__file__).resolve().parent.parent
ROOMS = ("callbacks", "datamodules", "metrics", "models")  # whose classes a run may name
CODE = (*ROOMS, "commands", "figures", "pages", "results", "runtime")  # which these may import
LIBRARIES = ("lightning.fabric", "lightning.pytorch", "torch.nn", "torch.optim")
KINDS = (nn.Module, Optimizer, LRScheduler, LightningDataModule, Callback, Strategy)  # of libraries
CLASS_KEYS = ("class_path", "_class_path")
INSTANTIATOR = "lightning.pytorch.cli.instantiate_module"  # the only one that Lightning writes
PLACES = ("dirpath", "filename", "exclude_batches_path")  # where Lightning's callbacks write
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
        elif (
            (key == "_instantiator" and value != INSTANTIATOR)
            or (key in PLACES and value is not None)
            or (key == "weights_only" and value is False)
        ):
            return f"{key}: {value!s:.200}"
    return ""


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
    """Returns the class with an import path, if it belongs to this project or to a library.

    The module in which the class was defined decides, not the one that the path goes through:
    `torch.os` is not a part of torch.
    """
    value = imported(name)
    if not isinstance(value, type):
        return None
    home = value.__module__
    room = sys.modules.get(home.partition(".")[0])
    if room and room.__name__ in ROOMS:
        return value if Path(room.__file__ or "").resolve().parents[1] == PROJECT else None
    of_library = any(f"{home}.".startswith(f"{library}.") for library in LIBRARIES)
    return value if of_library and issubclass(value, KINDS) else None


def require_own_address(address: str) -> None:
    """Refuses data at an address that a run names, and the user does not."""
    for guard in _Guard.active:
        if address not in guard.own:
            raise UserError(
                f"{guard.source} names data at {printable(address)}, outside this machine. If you "
                "want to read them, add --trust true, or give your own --data.path"
            )


@contextmanager
def only_trusted(values: Any, source: str | Path, own: Iterable[Any] = ()) -> Iterator[None]:
    """Allows only trusted classes for objects that are built from `values` inside the block.

    Args:
        values: As for `refusal`.
        source: Where they come from, for the message.
        own: As for `refusal`. Words of other kinds do no harm.

    Raises:
        UserError: If the values name anything else. It is raised at the end of the block as well,
            because jsonargparse tries another meaning of a value when one was refused.
    """
    texts = {value for _, value in leaves(values) if isinstance(value, str)}
    guard = _Guard(texts, {*map(str, own)}, source)
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
            if guard.refused.removeprefix("the class ").partition(".")[0] in ROOMS:
                reason = (
                    "this version does not have. Use the version of this project that wrote it."
                )
            raise UserError(f"{source} names {guard.refused}, which {reason}") from None


class _Guard(MetaPathFinder):
    """Intercepts the lookup of names, the parsing of strings and the import of modules."""

    active: ClassVar[list["_Guard"]] = []

    def __init__(self, texts: set[str], own: set[str], source: str | Path) -> None:
        self.texts, self.own, self.source = texts, own, source
        self.refused = ""
        self._imports_own = False

    @contextmanager
    def patches(self) -> Iterator[None]:
        with ExitStack() as stack:
            for module in (_actions, _typehints, _util):
                stack.enter_context(_patched(module, "import_object", self._import))
                stack.enter_context(_patched(module, "load_value", self._load))
            stack.enter_context(_patched(_paths.Path, "__init__", self._open))
            sys.meta_path.insert(0, self)
            stack.callback(sys.meta_path.remove, self)
            self.active.append(self)
            stack.callback(self.active.remove, self)
            yield

    def _import(self, real: Any, name: Any, check_path: bool = True) -> Any:
        if not check_path or not isinstance(name, str) or "." not in name:
            return real(name, check_path)  # a type in the code, or no import path
        if kind := trusted_class(name):
            return kind
        if _is_own(name, self.own):
            self._imports_own = True
            try:
                return real(name, check_path)
            finally:
                self._imports_own = False
        self.refused = self.refused or f"the class {name}"
        raise ImportError(f"{name} is not trusted")

    def _load(self, real: Any, value: str, *args: Any, **kwargs: Any) -> Any:
        return value if value in self.texts else real(value, *args, **kwargs)

    def _open(self, real: Any, file: Any, path: Any, *args: Any, **kwargs: Any) -> None:
        if isinstance(path, str) and path in self.texts:
            raise TypeError(f"{path} is not opened")
        real(file, path, *args, **kwargs)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Refuses to import a module that is neither installed nor of this project."""
        spec = None if self._imports_own else PathFinder.find_spec(name, path)
        if spec is None or _is_installed(spec):
            return None  # Python asks the next finder
        self.refused = self.refused or f"the module {name}"
        raise ImportError(f"{name} is not trusted", name=name)


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


def is_own_code(file: object) -> bool:
    """Returns whether a file lies neither in Python's own folders nor in one of this project."""
    paths = sysconfig.get_paths()
    own = [str(PROJECT / room) for room in CODE]
    folders = [paths["stdlib"], paths["platstdlib"], *site.getsitepackages(), *own]
    folders += [paths["purelib"], paths["platlib"], site.getusersitepackages()]
    roots = {Path(folder).resolve() for folder in folders}
    return roots.isdisjoint(Path(str(file)).resolve().parents)


def _is_installed(spec: ModuleSpec) -> bool:
    locations = [spec.origin] if spec.has_location else spec.submodule_search_locations or []
    return not any(map(is_own_code, locations))

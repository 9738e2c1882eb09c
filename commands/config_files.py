"""Config files: checked before parsing, so that a mistake is named with its file and line."""

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from commands.arguments import given_files
from commands.errors import did_you_mean
from runtime.errors import UserError

LOGGING = ("fit", "validate", "test")  # commands that log metrics

LARGEST = 100_000  # values in a config
OF_A_CLASS = ("class_path", "init_args", "dict_kwargs")


def check(files: Iterable[Path]) -> None:
    """Refuses files that YAML's loader accepts by mistake or reports without their name."""
    for file in files:
        if file.is_dir():
            raise UserError(f"--config {file}: is a folder. Give a file in it.")
        if not file.is_file():
            near = difflib.get_close_matches(str(file), map(str, Path("configs").glob("**/*.yaml")))
            raise UserError(f"--config {file}: no such file.{did_you_mean(near)}")
        try:
            text = file.read_text(encoding="utf-8")
            root = yaml.compose(text, Loader=yaml.SafeLoader)
            if (size := _size_of(root)) > LARGEST:
                problem = (
                    f"its aliases (&, *) stand for {size:.3g} values, {LARGEST:,} are allowed."
                )
                raise UserError(f"{file}: {problem}")
            yaml.safe_load(text)
            _check_form(root, file)
            list(_keys_of(root, "", file))
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else "?"
            problem = f"{file}:{line}: not valid YAML, {error.problem}."
            raise UserError(problem) from None
        except RecursionError:
            raise UserError(f"{file}: its values are nested too deep.") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())
            problem = f"{file}: not a YAML file in UTF-8 ({reason}). Save it as UTF-8."
            raise UserError(problem) from None
        except OSError as error:
            problem = f"--config {file}: cannot be read ({error.strerror})."
            raise UserError(problem) from None
        # PyYAML's constructors raise these for values such as the date 2001-99-99.
        except (ValueError, TypeError, AttributeError, LookupError) as error:
            problem = f"{file}: a value that YAML cannot read ({error}). Put it in quotes."
            raise UserError(problem) from None


def check_one_model(files: Iterable[Path]) -> None:
    """Refuses two configs of different models, of which the last would silently win."""
    named: dict[str, Path] = {}
    for file in files:
        model = yaml.safe_load(file.read_text(encoding="utf-8")).get("model")
        class_path = model.get("class_path") if isinstance(model, dict) else model
        if isinstance(class_path, str):
            named.setdefault(class_path.rpartition(".")[2], file)
    if len(named) > 1:
        first, second = [*named.values()][:2]
        raise UserError(
            f"--config {first} and --config {second} are two whole configs, of the models "
            f"{' and '.join([*named][:2])}: give one of them, and overlays such as "
            "configs/trainer/gpu.yaml."
        )


def _size_of(node: yaml.Node | None, known: dict[int, float] | None = None) -> float:
    """Counts the values that a node stands for, with those of aliases; infinite for a cycle."""
    known = {} if known is None else known
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in known:
        known[id(node)] = math.inf  # until it is known: an alias in itself
        inside = (
            part for item in node.value for part in (item if isinstance(item, tuple) else (item,))
        )
        known[id(node)] = 1 + sum(_size_of(part, known) for part in inside)
    return known[id(node)]


def without_unused_loggers(args: list[str]) -> list[str]:
    """Returns the arguments, with the text of configs that name loggers for their path.

    A command that logs nothing does not need a run's loggers, whose packages may be absent.
    """
    new: dict[str, str] = {}
    for file in given_files(args):
        config = yaml.safe_load(file.read_text()) if file.name == "config.yaml" else None
        if isinstance(config, dict) and (translated := _for(args[0], config)) != config:
            text = yaml.safe_dump(translated, sort_keys=False)
            new |= {f"{option}{file}": f"{option}{text}" for option in ("", "--config=", "-c=")}
    return [new.get(arg, arg) for arg in args]


def _for(command: str, config: dict[str, Any]) -> dict[str, Any]:
    trainer = config.get("trainer") or {}
    if command in LOGGING or not isinstance(trainer.get("logger"), dict | list):
        return config
    return config | {"trainer": trainer | {"logger": None}}


def keys(file: Path) -> Iterator[tuple[str, int]]:
    """Yields each key of a YAML file in dotted form, with its line number."""
    yield from _keys_of(yaml.compose(file.read_text(), Loader=yaml.SafeLoader), "", file)


def _keys_of(node: yaml.Node | None, prefix: str, file: Path) -> Iterator[tuple[str, int]]:
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _keys_of(item, prefix, file)
    if not isinstance(node, yaml.MappingNode):
        return
    seen: dict[str, int] = {}
    for key, value in node.value:
        name, line = f"{prefix}{key.value}", key.start_mark.line + 1
        if name in seen:
            problem = f"the key '{name}' appears twice, first on line {seen[name]}; keep one."
            raise UserError(f"{file}:{line}: {problem}")
        seen[name] = line
        yield name, line
        yield from _keys_of(value, f"{name}.", file)


def _check_form(root: yaml.Node | None, file: Path) -> None:
    """Refuses a file that is no mapping, and classes whose arguments are in the wrong place."""
    if not isinstance(root, yaml.MappingNode):
        problem = "expected options by name, such as `trainer: {max_steps: 100}`"
        raise UserError(f"{file}: {problem}, got {_kind_of(root)}.")
    for key, _ in root.value:
        if key.tag != "tag:yaml.org,2002:str":
            line, problem = key.start_mark.line + 1, f"the key {key.value} is not an option's name"
            raise UserError(f"{file}:{line}: {problem}. Put quotes around a name.")
    nodes: list[yaml.Node] = [root]
    for node in nodes:  # grows
        for item in node.value if isinstance(node, yaml.CollectionNode) else ():
            nodes += item if isinstance(item, tuple) else (item,)
        if isinstance(node, yaml.MappingNode):
            _check_class({key.value: (key, value) for key, value in node.value}, file)


def _check_class(pairs: Mapping[Any, tuple[yaml.Node, yaml.Node]], file: Path) -> None:
    for name, (key, value) in pairs.items():
        place = f"{file}:{key.start_mark.line + 1}"
        if "class_path" in pairs and name not in OF_A_CLASS:
            problem = f"'{name}' is an argument of the class, so it belongs below init_args."
            raise UserError(f"{place}: {problem}")
        if name == "init_args" and not isinstance(value, yaml.MappingNode):
            problem = f"init_args: expected arguments by name, got {_kind_of(value)}."
            raise UserError(f"{place}: {problem}")


def _kind_of(node: yaml.Node | None) -> str:
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    value = node.value if isinstance(node, yaml.ScalarNode) else ""
    return f"'{value}'" if value else "nothing"


def place_of(key: str, args: list[str], within: str = "") -> str:
    """Returns `file:line: ` of the last config file with the key; empty if `args` has it itself."""
    leaf = key.rpartition(".")[2]
    options = [arg.split("=")[0].removeprefix("--").rstrip("+") for arg in args if arg[:2] == "--"]
    if within in options or leaf in [option.rpartition(".")[2] for option in options]:
        return ""
    for file in reversed(given_files(args)):
        for name, line in keys(file):
            inside = name.replace("init_args.", "").startswith(within)
            if inside and name.rpartition(".")[2] == leaf:
                return f"{file}:{line}: "
    return ""

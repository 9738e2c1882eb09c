"""Config files: checked before parsing, and cited in explanations of mistakes."""

import difflib
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from commands.arguments import given_files
from commands.errors import did_you_mean
from commands.model_arguments import default_init_args
from models.legacy import translate_config

LOGGING = ("fit", "validate", "test")  # commands that log metrics

LARGEST = 100_000  # values in a config
BASES = ("LightningModule", "LightningDataModule")


def check(files: Iterable[Path]) -> None:
    """Refuses files that YAML's loader accepts by mistake or reports without their name."""
    for file in files:
        if not file.is_file():
            near = difflib.get_close_matches(str(file), map(str, Path("configs").glob("**/*.yaml")))
            raise MisconfigurationException(f"--config {file}: no such file.{did_you_mean(near)}")
        try:
            text = file.read_text(encoding="utf-8")
            if (size := _size_of(yaml.compose(text, Loader=yaml.SafeLoader))) > LARGEST:
                problem = (
                    f"its aliases (&, *) stand for {size:.3g} values, {LARGEST:,} are allowed."
                )
                raise MisconfigurationException(f"{file}: {problem}")
            yaml.safe_load(text)
            list(keys(file))
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else "?"
            problem = f"{file}:{line}: not valid YAML, {error.problem}."
            raise MisconfigurationException(problem) from None
        except RecursionError:
            raise MisconfigurationException(f"{file}: its values are nested too deep.") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())
            problem = f"{file}: not a YAML file in UTF-8 ({reason}). Save it as UTF-8."
            raise MisconfigurationException(problem) from None
        except OSError as error:
            problem = f"--config {file}: cannot be read ({error.strerror})."
            raise MisconfigurationException(problem) from None
        # PyYAML's constructors raise these for values such as the date 2001-99-99.
        except (ValueError, TypeError, AttributeError, LookupError) as error:
            problem = f"{file}: a value that YAML cannot read ({error}). Put it in quotes."
            raise MisconfigurationException(problem) from None


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


def without_old_names(args: list[str]) -> list[str]:
    """Returns the arguments with the translated text of configs of version 0.1 for their path.

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
    config = translate_config(config)
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
            raise MisconfigurationException(f"{file}:{line}: {problem}")
        seen[name] = line
        yield name, line
        yield from _keys_of(value, f"{name}.", file)


def explain(message: str, args: list[str], options: Iterable[str], classes: Iterable[str]) -> str:
    """Says in one line what jsonargparse says in many.

    Cites the last config file in `args` that has the wrong key. Suggests the nearest of `options`,
    dotted names, and `classes`, short names.
    """
    path = ".".join(re.findall(r'Parser key "([\w.]+)"', message))
    # Classes, from outside to inside, but not the short names in a given value.
    owners = re.findall(r"class_path[ =]'(\w+(?:\.\w+)+)'", message)
    owner = _short(owners[-1]) if owners else path
    if match := re.search(r"(?:arguments: |not accept option ')(-*)([\w.]+)", message):
        dashes, name = match.groups()
        near = [dashes + option for option in difflib.get_close_matches(name, options, n=1)]
        text = f"there is no option '{dashes}{name}'.{did_you_mean(near)}"
        return _where(args, name) + text
    if match := re.search(r"Option '([\w.]+)' is not accepted", message):
        accepted = default_init_args(owners[-1]) if owners else ()
        near = difflib.get_close_matches(match[1], accepted, n=1)
        text = f"{path}: {owner} has no option '{match[1]}'.{did_you_mean(near)}"
        if owner in BASES:  # the class comes later on the command line
            text = f"--{path}.{match[1]} comes before its class: give --{path} CLASS first."
        return _where(args, match[1]) + text
    if text := _wrong_class(message, list(classes)):
        return _where(args, "class_path", within=path) + f"{path}: {text}"
    if match := re.search(r"arguments are required: (.*)", message):
        return _missing(match[1].split(", "), path, owner, args[0])
    if text := _wrong_type(message):
        return _where(args, path) + f"{path}: {text}"
    return " ".join(message.split())


def _wrong_class(message: str, classes: list[str]) -> str:
    pattern = r"a callable class: ((?:No module named|module) .+?)\. Got value: (\S+)"
    if match := re.search(pattern, message):
        return f"cannot import {match[2]}: {match[1]}."
    if match := re.search(r"class_path '(\S+)':\s+((?:No module named|module) .+)", message):
        return f"cannot import {match[1]}: {match[2]}."
    given = re.search(r"Expected a path but (\S+) either", message)
    if given and (match := re.search(r"not correspond to a subclass of ([\w.]+)", message)):
        return f"{given[1]} is not a {match[1]}."
    match = re.search(r"Expected a dot import path string: (\S+)", message)
    if not match or (_kinds(message) and not match[1][0].isupper()):  # a number was expected
        return ""
    if match[1] in classes:
        return f"{match[1]} is not the kind of class that is needed here."
    near = difflib.get_close_matches(match[1], classes)
    return f"there is no class '{match[1]}'.{did_you_mean(near)}"


def _missing(names: list[str], path: str, owner: str, command: str) -> str:
    if path:
        options = " and ".join(f"--{path}.{name}" for name in names)
        return f"{path}: {owner} needs {' and '.join(names)}: give {options}."
    options = ", ".join(f"--{name.removeprefix(f'{command}.')}" for name in names)
    remedy = f"a run, `python cli.py {command} --ckpt_path RUN`"
    if command == "fit":
        remedy = "a config file, such as `python cli.py fit --config configs/cgan.yaml`"
    return f"missing: {options}. Give {remedy}."


def _wrong_type(message: str) -> str:
    for pattern in (
        r"(Expected a .+?)\. Got value: (.*?)(?:\. Got value.*)?$",
        r"((?s:.*?))Given value: (.+?)(?:\. Got value.*)?$",
    ):
        if match := re.search(pattern, message, re.MULTILINE):
            kinds, value = _kinds(match[1]), match[2]
            choices = [kind[1:-1] for kind in kinds if kind.startswith("'")]
            near = did_you_mean(difflib.get_close_matches(value, choices, n=1))
            wanted = " or ".join(filter(None, [", ".join(kinds[:-1]), *kinds[-1:]]))
            return f"expected {wanted}, got '{value}'.{near}"
    return ""


def _kinds(message: str) -> list[str]:
    """Returns the types and choices that an error names as expected, except None and classes."""
    kinds: list[str] = []
    pattern = r"Expected an? .*?(?:Literal\[(.+)\]|<class '(.+?)'>)"
    for choices, kind in re.findall(pattern, message):
        kinds += choices.split(", ") if choices else [_short(kind)]
    return [kind for kind in dict.fromkeys(kinds) if kind != "NoneType"]


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _where(args: list[str], key: str, within: str = "") -> str:
    """Returns `file:line: ` of the last config file with the key; empty if `args` has it itself."""
    leaf = _short(key)
    options = [arg.split("=")[0].removeprefix("--").rstrip("+") for arg in args if arg[:2] == "--"]
    if within in options or leaf in map(_short, options):
        return ""
    for file in reversed(given_files(args)):
        for name, line in keys(file):
            if _short(name) == leaf and name.replace("init_args.", "").startswith(within):
                return f"{file}:{line}: "
    return ""

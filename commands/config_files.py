"""Config files: checked before parsing, and cited in explanations of mistakes."""

import difflib
import importlib
import inspect
import itertools
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from commands.errors import did_you_mean
from models.legacy import translate_config


def given_files(args: list[str]) -> list[Path]:
    """Returns the config files among command line arguments, in their order."""
    files = []
    for arg, following in itertools.pairwise([*args, ""]):
        if arg.startswith(("--config=", "-c=")):
            files.append(Path(arg.split("=", 1)[1]))
        elif arg in ("--config", "-c") and following:
            files.append(Path(following))
    return files


def check(files: Iterable[Path]) -> None:
    """Refuses files that YAML's loader accepts by mistake or reports without their name.

    Raises:
        MisconfigurationException: A file is missing, is not YAML, or has a key twice.
    """
    for file in files:
        if not file.is_file():
            near = difflib.get_close_matches(str(file), map(str, Path("configs").glob("**/*.yaml")))
            raise MisconfigurationException(f"--config {file}: no such file.{did_you_mean(near)}")
        try:
            for _ in keys(file):
                pass
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else "?"
            raise MisconfigurationException(
                f"{file}:{line}: not valid YAML, {error.problem}."
            ) from None


@contextmanager
def without_old_names(args: list[str]) -> Iterator[list[str]]:
    """Yields the arguments with the config of a run of version 0.1 replaced by its translation."""
    with TemporaryDirectory() as folder:
        new_files: dict[str, str] = {}
        for file in given_files(args):
            config = yaml.safe_load(file.read_text()) if file.name == "config.yaml" else None
            if isinstance(config, dict) and (new := translate_config(config)) != config:
                new_files[str(file)] = f"{folder}/{len(new_files)}.yaml"
                Path(new_files[str(file)]).write_text(yaml.safe_dump(new, sort_keys=False))
        prefixes = ("", "--config=", "-c=")
        replaced = {p + old: p + new for old, new in new_files.items() for p in prefixes}
        yield [replaced.get(arg, arg) for arg in args]


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
        line = key.start_mark.line + 1
        if key.value in seen:
            raise MisconfigurationException(
                f"{file}:{line}: the key '{prefix}{key.value}' appears twice, first on line "
                f"{seen[key.value]}; keep one."
            )
        seen[key.value] = line
        yield f"{prefix}{key.value}", line
        yield from _keys_of(value, f"{prefix}{key.value}.", file)


def explain(message: str, args: list[str], options: Iterable[str], classes: Iterable[str]) -> str:
    """Says in one line what jsonargparse says in many.

    Args:
        message: jsonargparse's error.
        args: The command line. The last config file in it that has the wrong key is cited.
        options: Dotted names of all options, to suggest a near one.
        classes: Short names of all classes, to suggest a near one.
    """
    path = ".".join(re.findall(r'Parser key "([\w.]+)"', message))
    key, within, text = (
        _wrong_option(message, path, options)
        or _wrong_class(message, path, classes)
        or _missing(message, path, args)
        or _wrong_type(message, path)
        or ("", "", " ".join(message.split()))
    )
    return _where(args, key, within) + text


Explanation = tuple[str, str, str] | None  # the wrong key, the key that it lies within, the text


def _wrong_option(message: str, path: str, options: Iterable[str]) -> Explanation:
    if match := re.search(r"unrecognized arguments: --([\w.]+)", message):
        near = _near(match[1], options).replace("mean ", "mean --")
        return "", "", f"there is no option '--{match[1]}'.{near}"
    if match := re.search(r"does not accept option '([\w.]+)'", message):
        return match[1], "", f"there is no option '{match[1]}'.{_near(match[1], options)}"
    if match := re.search(r"Option '([\w.]+)' is not accepted", message):
        owners = re.findall(r"class_path[ =]'([\w.]+)'", message)
        accepted = _init_args(owners[-1]) if owners else []
        owner = _short(owners[-1]) if owners else path
        text = f"{path}: {owner} has no option '{match[1]}'.{_near(match[1], accepted)}"
        return match[1], "", text
    return None


def _wrong_class(message: str, path: str, classes: Iterable[str]) -> Explanation:
    if match := re.search(r"class_path '(\S+)':\s+((?:No module named|module) .+)", message):
        return "class_path", path, f"{path}: cannot import {match[1]}: {match[2]}."
    given = re.search(r"Expected a path but (\S+) either", message)
    if given and (match := re.search(r"not correspond to a subclass of ([\w.]+)", message)):
        return "class_path", path, f"{path}: {given[1]} is not a {match[1]}."
    match = re.search(r"Expected a dot import path string: (\S+)", message)
    if not match or (_kinds(message) and not match[1][0].isupper()):  # a number was expected
        return None
    name, known = match[1], list(classes)
    if name in known:
        return "class_path", path, f"{path}: {name} is not the kind of class that is needed here."
    near = did_you_mean(difflib.get_close_matches(name, known))
    return "class_path", path, f"{path}: there is no class '{name}'.{near}"


def _wrong_type(message: str, path: str) -> Explanation:
    if match := re.search(r"(Expected a .+?)\. Got value: (.*)", message):
        kinds, value = _kinds(match[1]), match[2]
    elif match := re.search(r"Given value: (.+?)(?:\. Got value.*)?$", message, re.MULTILINE):
        kinds, value = _kinds(message), match[1]
    else:
        return None
    near = _near(value, (kind[1:-1] for kind in kinds if kind.startswith("'")))
    wanted = " or ".join(filter(None, [", ".join(kinds[:-1]), kinds[-1]]))
    return path, "", f"{path}: expected {wanted}, got '{value}'.{near}"


def _kinds(message: str) -> list[str]:
    """Returns the types and choices that an error names as expected, except None and classes."""
    kinds: list[str] = []
    for expected in re.findall(r"Expected an? (.+)", message):
        if match := re.search(r"Literal\[(.+)\]", expected):
            kinds += match[1].split(", ")
        elif match := re.search(r"<class '([\w.]+)'>", expected):
            kinds.append(_short(match[1]))
    return [kind for kind in dict.fromkeys(kinds) if kind != "NoneType"]


def _missing(message: str, path: str, args: list[str]) -> Explanation:
    match = re.search(r"arguments are required: (.*)", message)
    if not match:
        return None
    names = match[1].split(", ")
    if owner := re.search(r"class_path '([\w.]+)':\s+the following arguments", message):
        options = " and ".join(f"--{path}.{name}" for name in names)
        return "", "", f"{path}: {_short(owner[1])} needs {' and '.join(names)}: give {options}."
    command = args[0]
    options = ", ".join(f"--{name.removeprefix(f'{command}.')}" for name in names)
    remedy = f"a config file, such as `python cli.py {command} --config configs/cgan.yaml`"
    if command != "fit":
        remedy = f"a run, `python cli.py {command} --ckpt_path RUN`"
    return "", "", f"missing: {options}. Give {remedy}."


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _near(name: str, names: Iterable[str]) -> str:
    return did_you_mean(difflib.get_close_matches(name, list(names), n=1))


def _where(args: list[str], name: str, within: str = "") -> str:
    """Returns `file:line: ` of the last config file that has the key `name` within another key.

    Empty if one of the two keys is on the command line itself.
    """
    leaf = _short(name)
    options = [arg.split("=")[0].removeprefix("--").rstrip("+") for arg in args if arg[:2] == "--"]
    if not leaf or within in options or leaf in map(_short, options):
        return ""
    for file in reversed(given_files(args)):
        for key, line in keys(file):
            if _short(key) == leaf and key.startswith(within):
                return f"{file}:{line}: "
    return ""


def _init_args(class_path: str) -> list[str]:
    """Returns the names of the arguments that a class and its bases accept."""
    module, _, name = class_path.rpartition(".")
    cls = getattr(importlib.import_module(module), name)
    bases = [base for base in cls.__mro__ if "__init__" in vars(base) and base is not object]
    return sorted({arg for base in bases for arg in inspect.signature(base).parameters})

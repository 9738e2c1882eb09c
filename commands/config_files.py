"""Config files: checked before parsing, so that a mistake is named with its file and line.

Imports nothing heavy.
"""

import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import SafeConstructor

from runtime.errors import UserError, did_you_mean
from runtime.files import ROOT

CONFIG = ("--config", "-c")
OF_A_CLASS = ("class_path", "init_args", "dict_kwargs")
LARGEST_FILE, DEEPEST = 1_000_000, 100  # bytes and levels of a config
LARGEST, LONGEST = 100_000, 10_000_000  # values and letters, with those of aliases
DIGITS = 300  # of an integer, for which YAML also takes 1:59:59...
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # with libyaml ten times faster
EXPECTED = "expected options by name, such as `trainer: {max_steps: 100}`."


def values(args: list[str]) -> list[tuple[str, str]]:
    """Returns each option with its value, written as `--option value` or `--option=value`."""
    parts = [part for arg in args for part in (arg.split("=", 1) if arg[:1] == "-" else [arg])]
    return list(zip(parts, parts[1:], strict=False))


def given_files(args: list[str]) -> list[Path]:
    """Returns the config files among command line arguments, in their order."""
    return [Path(value) for option, value in values(args) if option in CONFIG]


def read(file: Path) -> dict[str, Any]:
    """Reads a YAML mapping, whoever wrote it, as plain values that are safe to walk.

    Raises:
        UserError: For a file that is no YAML mapping in UTF-8, is too large, or stands for too many
            or too deeply nested values.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise UserError(f"{file}: is larger than {LARGEST_FILE / 1e6:g} MB, so it is no config")
        root = yaml.compose(content.decode(), Loader=LOADER)
        if not isinstance(root, yaml.MappingNode):
            raise UserError(f"{file}: {EXPECTED}")
        if problem := _excess_of(root):
            raise UserError(f"{file}: {problem}")
        return SafeConstructor().construct_document(root)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}).") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise UserError(f"{file}:{line}: not valid YAML, {error.problem}.") from None
    except Exception as error:  # a tag such as !!bool on another text raises any kind
        reason = " ".join(str(error).split())
        raise UserError(f"{file}: not a YAML file in UTF-8 ({reason}).") from None


def check(files: Iterable[Path]) -> None:
    """Refuses what YAML's loader accepts by mistake or reports without the name of the file."""
    for file in files:
        if not file.is_file():
            raise UserError(_not_found(file))
        found = read(file)
        for _ in _keys_of(yaml.compose(file.read_bytes(), Loader=LOADER), "", file):
            pass
        if "config" in found:
            raise UserError(f"{file}: 'config' is no option here. Give both files with --config.")
        if not isinstance(found.get("trainer"), dict | None):
            raise UserError(f"{file}: {EXPECTED}")


def warn_of_replaced_callbacks(files: Iterable[Path]) -> None:
    """Warns of callbacks in a config that a later one replaces, because a list is one value."""
    from lightning.pytorch.utilities.rank_zero import rank_zero_warn  # imports torch

    last: Path | None = None
    for file in files:
        trainer = read(file).get("trainer")
        if isinstance(trainer, dict) and trainer.get("callbacks"):
            if last:
                rank_zero_warn(
                    f"{file}: its trainer.callbacks replace those of {last}. Write `callbacks+:` "
                    "to add."
                )
            last = file


def _not_found(file: Path) -> str:
    """Says where a config was looked for, and where one with such a name is."""
    if file.is_dir():
        return f"--config {file}: is a folder. Give a file in it."
    text = f"--config {file}: no such file in {Path.cwd()}."
    if not file.is_absolute() and (ROOT / file).is_file():
        return f"{text} It is in {ROOT}: go there first, `cd {ROOT}`."
    near = difflib.get_close_matches(str(file), map(str, Path("configs").glob("**/*.yaml")))
    return text + did_you_mean(near)


def _excess_of(root: yaml.Node) -> str:
    """Returns why values are too many or too deep to walk, with those of aliases; empty if not."""
    nodes: list[tuple[yaml.Node, int]] = [(root, 0)]
    letters = 0
    for _ in range(LARGEST):
        if not nodes or letters > LONGEST:
            break
        node, depth = nodes.pop()
        if depth > DEEPEST:
            return f"its values are nested more than {DEEPEST} deep"
        if isinstance(node, yaml.MappingNode):
            nodes += [(part, depth + 1) for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            nodes += [(part, depth + 1) for part in node.value]
        elif node.tag.endswith(":int") and len(node.value) > DIGITS:
            return f"one of its numbers has more than {DIGITS} digits"
        else:
            letters += len(node.value)
    many = f"more than {LARGEST:,} values or {LONGEST:,} letters"
    return f"its aliases (&, *) stand for {many}" if nodes else ""


def _keys_of(node: yaml.Node | None, prefix: str, file: Path) -> Iterator[tuple[str, int]]:
    """Yields each key in dotted form, with its line number, and refuses what is twice or astray."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _keys_of(item, prefix, file)
    if not isinstance(node, yaml.MappingNode):
        return
    seen: dict[str, int] = {}
    names = [key.value for key, _ in node.value]
    for key, value in node.value:
        name, line = f"{prefix}{key.value}", key.start_mark.line + 1
        if name in seen:
            problem = f"the key '{name}' appears twice, first on line {seen[name]}; keep one."
            raise UserError(f"{file}:{line}: {problem}")
        if "class_path" in names and key.value not in OF_A_CLASS:
            problem = f"'{key.value}' is an argument of the class, so it belongs below init_args."
            raise UserError(f"{file}:{line}: {problem}")
        seen[name] = line
        yield name, line
        yield from _keys_of(value, f"{name}.", file)


def place_of(name: str, args: list[str]) -> str:
    """Returns `file:line: ` of the last config file with an option; empty if `args` has it."""
    if f"--{name}" in [option.rstrip("+") for option, _ in values(args)]:
        return ""
    for file in reversed(given_files(args)):
        for key, line in _keys_of(yaml.compose(file.read_bytes(), Loader=LOADER), "", file):
            if key.replace("init_args.", "").removesuffix(".class_path") == name:
                return f"{file}:{line}: "
    return ""

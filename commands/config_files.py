"""Config files: checked before parsing, so that a mistake is named with its file and line."""

import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from commands.arguments import given_files, values
from commands.errors import OF_A_CLASS, ROOT, did_you_mean
from runtime.errors import UserError

LARGEST = 100_000  # values in a config


def check(files: Iterable[Path]) -> None:
    """Refuses what YAML's loader accepts by mistake or reports without the name of the file."""
    for file in files:
        if not file.is_file():
            raise UserError(_not_found(file))
        try:
            text = file.read_text(encoding="utf-8")
            root = yaml.compose(text, Loader=yaml.SafeLoader)
            if _size_of(root, {}) > LARGEST:
                problem = f"its aliases (&, *) stand for more than {LARGEST:,} values"
                raise UserError(f"{file}: {problem}")
            found = yaml.safe_load(text)
            for _ in _keys_of(root, "", file):
                pass
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else "?"
            raise UserError(f"{file}:{line}: not valid YAML, {error.problem}.") from None
        except (yaml.YAMLError, ValueError, OSError, RecursionError) as error:
            raise UserError(f"{file}: not a YAML file in UTF-8 ({error}).") from None
        if not (isinstance(found, dict) and isinstance(found.get("trainer"), dict | None)):
            example = "such as `trainer: {max_steps: 100}`"
            raise UserError(f"{file}: expected options by name, {example}.")


def warn_of_replaced_callbacks(files: Iterable[Path]) -> None:
    """Warns of callbacks in a config that a later one replaces, because a list is one value."""
    last: Path | None = None
    for file in files:
        trainer = yaml.safe_load(file.read_text(encoding="utf-8")).get("trainer")
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


def _size_of(node: yaml.Node | None, known: dict[int, float]) -> float:
    """Counts the values that a node stands for, with those of aliases; infinite for a cycle."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in known:
        known[id(node)] = float("inf")  # until it is known: an alias in itself
        parts = (item if isinstance(item, tuple) else (item,) for item in node.value)
        known[id(node)] = 1 + sum(_size_of(part, known) for item in parts for part in item)
    return known[id(node)]


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
        root = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        for key, line in _keys_of(root, "", file):
            if key.replace("init_args.", "").removesuffix(".class_path") == name:
                return f"{file}:{line}: "
    return ""

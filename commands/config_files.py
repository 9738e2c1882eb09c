"""Config files: checked before parsing, so that a mistake is named with its file and line.

Imports nothing heavy.
"""

import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from runtime.errors import UserError, did_you_mean
from runtime.files import ROOT
from runtime.yaml_files import EXPECTED_OPTIONS, LOADER, read

CONFIG = ("--config", "-c")
OF_A_CLASS = ("class_path", "init_args", "dict_kwargs")


def values(args: list[str]) -> list[tuple[str, str]]:
    """Returns each option with its value, written as `--option value` or `--option=value`."""
    parts = [part for arg in args for part in (arg.split("=", 1) if arg[:1] == "-" else [arg])]
    return list(zip(parts, parts[1:], strict=False))


def given_files(args: list[str]) -> list[Path]:
    """Returns the config files among command line arguments, in their order."""
    return [Path(value) for option, value in values(args) if option in CONFIG]


def is_of_run(file: Path) -> bool:
    """Returns whether a run has written this file."""
    return file.name == "config.yaml" and (file.parent / "checkpoints").is_dir()


def check_configs(files: Iterable[Path]) -> None:
    """Refuses what YAML's loader accepts by mistake or reports without the name of the file."""
    for file in files:
        if not file.is_file():
            raise UserError(_not_found(file))
        config = read(file)
        for _ in _keys_of(yaml.compose(file.read_bytes(), Loader=LOADER), "", file):
            pass
        if "config" in config:
            raise UserError(f"{file}: 'config' is no option here. Give both files with --config.")
        if not isinstance(config.get("trainer"), dict | None):
            raise UserError(f"{file}: {EXPECTED_OPTIONS}")


def warn_of_replaced_parts(files: Iterable[Path]) -> None:
    """Warns of a model, data or callbacks in a config that a later one replaces as a whole."""
    from lightning.pytorch.utilities.rank_zero import rank_zero_warn  # imports torch

    last: Path | None = None
    classes: dict[str, str] = {}
    for file in files:
        config = read(file)
        for part in ("model", "data"):
            value = config.get(part)
            name = value.get("class_path") if isinstance(value, dict) else value
            name = str(name or "").rpartition(".")[2]
            if name and (old := classes.get(part, name)) != name:
                rank_zero_warn(f"{file}: its {part} {name} replaces {old} of an earlier config.")
            classes |= {part: name} if name else {}
        trainer = config.get("trainer")
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
    known = map(str, sorted(Path("configs").glob("**/*.yaml")))
    return text + did_you_mean(configs_called(file) or difflib.get_close_matches(str(file), known))


def configs_called(file: Path) -> list[str]:
    """Returns the config files with a name, in any folder."""
    return [str(path) for path in sorted(Path("configs").glob(f"**/{file.stem}.yaml"))]


def _keys_of(node: yaml.Node | None, prefix: str, file: Path) -> Iterator[tuple[str, int]]:
    """Yields each key in dotted form with its line number; refuses duplicate and misplaced keys."""
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


def location_of(name: str, args: list[str]) -> str:
    """Returns `file:line: ` of the last config file with an option; empty if `args` has it."""
    if f"--{name}" in [option.rstrip("+") for option, _ in values(args)]:
        return ""
    for file in reversed(given_files(args)):
        for key, line in _keys_of(yaml.compose(file.read_bytes(), Loader=LOADER), "", file):
            if key.replace("init_args.", "").removesuffix(".class_path") == name:
                return f"{file}:{line}: "
    return ""

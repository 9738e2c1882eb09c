"""Config files: checked before parsing, so that a mistake is named with its file and line."""

import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from commands.arguments import given_files
from commands.errors import OF_A_CLASS, ROOT, did_you_mean
from runtime.errors import UserError

LARGEST = 100_000  # values in a config


def check(files: Iterable[Path]) -> None:
    """Refuses files that YAML's loader accepts by mistake or reports without their name."""
    for file in files:
        if not file.is_file():
            raise UserError(_not_found(file))
        try:
            text = file.read_text(encoding="utf-8")
            root = yaml.compose(text, Loader=yaml.SafeLoader)
            if _size_of(root, {}) > LARGEST:
                raise UserError(
                    f"{file}: its aliases (&, *) stand for more than {LARGEST:,} values"
                )
            if not isinstance(yaml.safe_load(text), dict):
                example = "such as `trainer: {max_steps: 100}`"
                raise UserError(f"{file}: expected options by name, {example}.")
            for _ in _keys_of(root, "", file):
                pass
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else "?"
            raise UserError(f"{file}:{line}: not valid YAML, {error.problem}.") from None
        except OSError as error:
            raise UserError(f"--config {file}: cannot be read ({error.strerror}).") from None
        # PyYAML's constructors raise these for values such as the date 2001-99-99.
        except (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError,
                RecursionError) as error:  # fmt: skip
            raise UserError(f"{file}: not a YAML file in UTF-8 ({error}).") from None


def _not_found(file: Path) -> str:
    """Says where a config was looked for, and where one with such a name is."""
    if file.is_dir():
        return f"--config {file}: is a folder. Give a file in it."
    text = f"--config {file}: no such file in {Path.cwd()}."
    if not file.is_absolute() and (ROOT / file).is_file():
        return f"{text} It is in {ROOT}: go there first, `cd {ROOT}`."
    near = difflib.get_close_matches(str(file), map(str, Path("configs").glob("**/*.yaml")))
    return text + did_you_mean(near)


def check_together(files: Iterable[Path]) -> None:
    """Refuses configs of two models, and warns of callbacks that a later file replaces."""
    models: dict[str, Path] = {}
    callbacks: Path | None = None
    for file in files:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
        model, trainer = config.get("model"), config.get("trainer")
        if isinstance(trainer, dict) and trainer.get("callbacks"):
            if callbacks:
                rank_zero_warn(
                    f"{file}: its trainer.callbacks replace those of {callbacks}. Write "
                    "`callbacks+:` to add."
                )
            callbacks = file
        class_path = model.get("class_path") if isinstance(model, dict) else model
        if isinstance(class_path, str):
            models.setdefault(class_path.rpartition(".")[2], file)
    if len(models) > 1:
        first, second = [*models.values()][:2]
        raise UserError(
            f"--config {first} and --config {second} are two whole configs, of the models "
            f"{' and '.join([*models][:2])}: give one of them, and overlays such as "
            "configs/trainer/gpu.yaml."
        )


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


def place_of(key: str, args: list[str], within: str = "") -> str:
    """Returns `file:line: ` of the last config file with the key; empty if `args` has it itself."""
    leaf = key.rpartition(".")[2]
    options = [arg.split("=")[0].removeprefix("--").rstrip("+") for arg in args if arg[:2] == "--"]
    if within in options or leaf in [option.rpartition(".")[2] for option in options]:
        return ""
    for file in reversed(given_files(args)):
        root = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        for name, line in _keys_of(root, "", file):
            inside = name.replace("init_args.", "").startswith(within)
            if inside and name.rpartition(".")[2] == leaf:
                return f"{file}:{line}: "
    return ""

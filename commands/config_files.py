"""Config files as people write them: checked before parsing, and cited when they are wrong."""

import difflib
import importlib
import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from models.legacy import translate_config


def given_files(args: list[str]) -> list[Path]:
    """The config files among command line arguments, in their order."""
    files = []
    for arg, following in zip(args, [*args[1:], None], strict=True):
        if arg.startswith(("--config=", "-c=")):
            files.append(Path(arg.split("=", 1)[1]))
        elif arg in ("--config", "-c") and following is not None:
            files.append(Path(following))
    return files


def check(files: Iterable[Path]) -> None:
    """Refuses what YAML's own loader lets pass or reports without the file's name.

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


def without_old_names(args: list[str]) -> list[str]:
    """Replaces the config of a run of version 0.1 by its translation, as YAML text."""
    texts = {}
    for file in given_files(args):
        config = yaml.safe_load(file.read_text()) if file.name == "config.yaml" else None
        if isinstance(config, dict) and (new := translate_config(config)) != config:
            texts |= {str(file): yaml.safe_dump(new, sort_keys=False)}
    prefixes = ("", "--config=", "-c=")
    replaced = {prefix + file: prefix + text for file, text in texts.items() for prefix in prefixes}
    return [replaced.get(arg, arg) for arg in args]


def keys(file: Path) -> Iterator[tuple[str, int]]:
    """Each key of a YAML file in dotted form, with its line number."""
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
                f"{file}:{line}: the key '{prefix}{key.value}' stands twice, first on line "
                f"{seen[key.value]}; keep one."
            )
        seen[key.value] = line
        yield f"{prefix}{key.value}", line
        yield from _keys_of(value, f"{prefix}{key.value}.", file)


def explain(message: str, args: list[str], options: Iterable[str], classes: Iterable[str]) -> str:
    """Says in one line what jsonargparse says in many.

    Args:
        message: jsonargparse's error.
        args: The command line; the last config file in it that has the key is cited.
        options: The dotted names of all options, to suggest a near one.
        classes: The short names of all classes, likewise.
    """
    path = ".".join(re.findall(r'Parser key "([\w.]+)"', message))

    if match := re.search(r"Expected a dot import path string: (\S+)", message):
        name = match[1]
        near = did_you_mean(difflib.get_close_matches(name, classes, n=3, cutoff=0.6))
        return f"{_where(args, 'class_path', path)}{path}: there is no class '{name}'.{near}"
    if match := re.search(r"does not accept option '([\w.]+)'", message):
        return f"{_where(args, match[1])}there is no option '{match[1]}'.{_near(match[1], options)}"
    if match := re.search(r"Option '([\w.]+)' is not accepted", message):
        owners = re.findall(r"class_path[ =]'([\w.]+)'", message)
        accepted = _init_args(owners[-1]) if owners else []
        owner = owners[-1].rpartition(".")[2] if owners else path
        where = _where(args, match[1])
        return f"{where}{path}: {owner} has no option '{match[1]}'.{_near(match[1], accepted)}"
    if match := re.search(r"Expected a (.+?)\. Got value: (.*)", message):
        wanted = re.sub(r"<class '([\w.]+)'>", r"\1", match[1]).replace("typing.", "")
        near = _near(match[2], re.findall(r"'([^']*)'", wanted)) if "Literal" in wanted else ""
        leaf = path.rpartition(".")[2]
        return f"{_where(args, leaf)}{path}: expected {wanted}, got '{match[2]}'.{near}"
    if match := re.search(r"invalid choice: '(\S+)' \(choose from (.*)\)", message):
        choices = match[2].replace("'", "")  # Python 3.12 leaves the quotes out
        return f"there is no command '{match[1]}': one of {choices}."
    if match := re.search(r"arguments are required: (.*)", message):
        return (
            f"missing: {match[1]}. Give a config file, such as "
            "`python cli.py fit --config configs/cgan.yaml`."
        )
    return " ".join(message.split())


def did_you_mean(near: list[str]) -> str:
    """A question naming the nearest valid names, or nothing."""
    return f" Did you mean {' or '.join(near)}?" if near else ""


def _near(name: str, names: Iterable[str]) -> str:
    return did_you_mean(difflib.get_close_matches(name, list(names), n=1))


def _where(args: list[str], name: str, within: str = "") -> str:
    """`file:line: ` of the last config file that has the key `name`, inside the key `within`.

    Nothing if the key was given on the command line itself.
    """
    leaf = name.rpartition(".")[2]
    if any(re.match(rf"--([\w.]+\.)?{re.escape(leaf)}(=|$)", arg) for arg in args):
        return ""
    for file in reversed(given_files(args)):
        for key, line in keys(file):
            if key.rpartition(".")[2] == leaf and key.startswith(within):
                return f"{file}:{line}: "
    return ""


def _init_args(class_path: str) -> list[str]:
    """The names that a class and its bases accept on construction."""
    module, _, name = class_path.rpartition(".")
    cls = getattr(importlib.import_module(module), name)
    bases = [base for base in cls.__mro__ if "__init__" in vars(base) and base is not object]
    return sorted({arg for base in bases for arg in inspect.signature(base).parameters})

"""YAML files of unknown origin, read as plain values. Imports nothing heavy."""

from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import SafeConstructor

from runtime.errors import UserError

MAX_BYTES, MAX_YAML_DEPTH = 1_000_000, 100  # bytes and levels
MAX_YAML_VALUES, MAX_YAML_LETTERS = 100_000, 10_000_000  # values and letters, with those of aliases
MAX_DIGITS = 300  # of an integer, for which YAML also takes 1:59:59...
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # with libyaml ten times faster
EXPECTED_OPTIONS = "expected options by name, such as `trainer: {max_steps: 100}`."


def read(file: Path) -> dict[str, Any]:
    """Reads a YAML mapping of any origin as plain values that are safe to walk.

    Raises:
        UserError: The file is no YAML mapping in UTF-8, is too large, or expands to too many or too
            deeply nested values.
    """
    return parse(content_of(file), file)


def content_of(file: Path) -> bytes:
    """Reads the bytes of a YAML file of any origin."""
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}).") from None
    if len(content) > MAX_BYTES:
        raise UserError(f"{file}: is larger than {MAX_BYTES / 1e6:g} MB, so it is no config")
    return content


def parse(content: bytes, file: Path) -> dict[str, Any]:
    """Parses what `content_of` has read, as `read` does."""
    try:
        root = yaml.compose(content.decode(), Loader=LOADER)
        if not isinstance(root, yaml.MappingNode):
            raise UserError(f"{file}: {EXPECTED_OPTIONS}")
        if problem := _excess_of(root):
            raise UserError(f"{file}: {problem}")
        return SafeConstructor().construct_document(root)
    except UserError:
        raise
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise UserError(f"{file}:{line}: not valid YAML, {error.problem}.") from None
    except Exception as error:  # a tag such as !!bool on another text raises any kind
        reason = " ".join(str(error).split())
        raise UserError(f"{file}: not a YAML file in UTF-8 ({reason}).") from None


def _excess_of(root: yaml.Node) -> str:
    """Returns why values are too many or too deep to walk, with those of aliases; empty if not."""
    nodes: list[tuple[yaml.Node, int]] = [(root, 0)]
    letters = 0
    for _ in range(MAX_YAML_VALUES):
        if not nodes or letters > MAX_YAML_LETTERS:
            break
        node, depth = nodes.pop()
        if depth > MAX_YAML_DEPTH:
            return f"its values are nested more than {MAX_YAML_DEPTH} deep"
        if isinstance(node, yaml.MappingNode):
            nodes += [(part, depth + 1) for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            nodes += [(part, depth + 1) for part in node.value]
        elif node.tag.endswith(":int") and len(node.value) > MAX_DIGITS:
            return f"one of its numbers has more than {MAX_DIGITS} digits"
        else:
            letters += len(node.value)
    many = f"more than {MAX_YAML_VALUES:,} values or {MAX_YAML_LETTERS:,} letters"
    return f"its aliases (&, *) stand for {many}" if nodes else ""

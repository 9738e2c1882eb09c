"""Mistakes in config files are refused with file, line, key and the nearest valid name."""

from pathlib import Path

import pytest
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from commands import config_files
from tests.test_cli import fails


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: {c: 1, c: 2}\n", ":2: the key 'b.c' appears twice, first on line 2"),
        ("a: 1\nb: 2\na: 3\n", ":3: the key 'a' appears twice, first on line 1"),
        ("a: [1, 2\n", ": not valid YAML"),
    ],
)
def test_broken_files_are_refused(text: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(MisconfigurationException) as error:
        config_files.check([path])
    assert str(path) in str(error.value)
    assert expected in str(error.value)


def test_a_missing_file_suggests_a_near_one(in_root: Path) -> None:
    with pytest.raises(MisconfigurationException, match="Did you mean configs/cgan.yaml"):
        config_files.check([Path("configs/cgann.yaml")])


def test_keys_have_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("a:\n  b: 1\n  c:\n  - d: 2\n")
    assert dict(config_files.keys(path)) == {"a": 1, "a.b": 2, "a.c": 3, "a.c.d": 4}


LINES = "".join(f"a{i}: &a{i} [{', '.join(['*a' + str(i - 1)] * 9)}]\n" for i in range(1, 30))
STRANGE = {
    "aliases": (b"a0: &a0 [x, x]\n" + LINES.encode(), "its aliases (&, *) stand for"),
    "cycle": (b"a: &a [*a]\n", "its aliases (&, *) stand for inf values"),
    "Latin-1": ("# Größe\n".encode("latin-1"), "not a YAML file in UTF-8"),
    "UTF-16": ("a: 1\n".encode("utf-16"), "not a YAML file in UTF-8"),
    "NUL": (b"a: b\0c\n", "not a YAML file in UTF-8"),
    "unhashable": (b"? [a, b]\n: 1\n", "not valid YAML, found unhashable key"),
    "deep": (b"a: " + b"{a: " * 3000, "nested too deep"),
    "date": (b"a: 2001-99-99\n", "a value that YAML cannot read (month must be in 1..12)"),
    "no date": (b"a: !!timestamp b\n", "a value that YAML cannot read"),
    "no number": (b"a: !!int b\n", "a value that YAML cannot read"),
    "no truth": (b"a: !!bool b\n", "a value that YAML cannot read"),
    "binary": (bytes(range(256)), "not a YAML file in UTF-8"),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_a_strange_file_is_one_line(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, message = STRANGE[kind]
    file = tmp_path / "strange.yaml"
    file.write_bytes(content)
    line = fails(capsys, "fit", f"--config={file}")
    assert message in line
    assert str(file) in line


def test_an_unknown_key_beside_a_short_class_name_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The explanation took the short name for an import path, and ended in a traceback."""
    network = "{class_path: FeedForward, init_: {hidden: [16]}}"
    file = tmp_path / "config.yaml"
    file.write_text(
        f"model: {{class_path: IrisMLP, init_args: {{network: {network}}}}}\ndata: Iris\n"
    )
    line = fails(capsys, "fit", f"--config={file}")
    assert "FeedForward has no option 'init_.hidden'" in line

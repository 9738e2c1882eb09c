"""Mistakes in config files are refused with file, line, key and the nearest valid name."""

from pathlib import Path

import pytest

from commands import config_files
from runtime.errors import UserError
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
    with pytest.raises(UserError) as error:
        config_files.check([path])
    assert str(path) in str(error.value)
    assert expected in str(error.value)


def test_a_missing_file_suggests_a_near_one(in_root: Path) -> None:
    with pytest.raises(UserError, match="Did you mean configs/cgan.yaml"):
        config_files.check([Path("configs/cgann.yaml")])


def test_keys_have_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("a:\n  b: 1\n  c:\n  - d: 2\n")
    assert dict(config_files.keys(path)) == {"a": 1, "a.b": 2, "a.c": 3, "a.c.d": 4}


STRANGE = {  # more in tests/mistakes/configs.txt
    "deep": ("a: " + "{a: " * 3000, "nested too deep"),
    "date": ("a: 2001-99-99\n", "a value that YAML cannot read (month must be in 1..12)"),
    "no date": ("a: !!timestamp b\n", "a value that YAML cannot read"),
    "no number": ("a: !!int b\n", "a value that YAML cannot read"),
    "no truth": ("a: !!bool b\n", "a value that YAML cannot read"),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_a_strange_file_is_one_line(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, message = STRANGE[kind]
    file = tmp_path / "strange.yaml"
    file.write_text(content)
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
    assert ":1: 'init_' is an argument of the class, so it belongs below init_args" in line

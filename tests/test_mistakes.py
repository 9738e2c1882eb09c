"""The table of mistakes: each wrong command in `tests/mistakes/` is answered with its line.

The files are read like this:

    # A comment.
    mine.yaml| trainer: 5           writes a line of a file, for the next command
    $ fit --config mine.yaml        a command
    error: mine.yaml:1: ...         what it prints; `...` stands for any text
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from torch import Tensor, nn

import cli
from datamodules import sources
from tests.conftest import ROOT
from tests.datamodules.pictures import write_classes
from tests.models.gans import WIDTH_2

FOLDER = Path(__file__).parent / "mistakes"
LONGEST = 300  # characters of an error
DIGITS = ["--data=Images", "--data.dataset=digits", "--data.batch_size=32"]
QUICK = ["--trainer.max_steps=1", "--trainer.limit_val_batches=0", "--quality.final_samples=0"]
RUNS = {  # trained, by the name of the experiment
    "iris": ["--config=configs/iris.yaml"],
    "digits": ["--model=ImageClassifier", "--model.network=FeedForward", *DIGITS],
    "cgan": ["--model=ConditionalGAN", *WIDTH_2, *DIGITS],
}


class Wide(nn.Module):
    """A network for 100 numbers."""

    def __init__(self, input_shape: tuple[int, ...], num_outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(100, num_outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(inputs)


class TwoOutputs(Wide):
    """A network with another number of outputs than there are classes."""

    def __init__(self, input_shape: tuple[int, ...], num_outputs: int) -> None:
        super().__init__(input_shape, num_outputs)
        self.layer = nn.Linear(*input_shape, 2)


class Row(NamedTuple):
    command: str
    error: str
    files: dict[str, str]  # text by name


def rows(file: Path) -> Iterator[Row]:
    """Yields the rows of a file of the table."""
    files: dict[str, str] = {}
    command = ""
    for line in file.read_text().splitlines():
        if line.startswith("$ "):
            command = line[2:]
        elif line.startswith("error: "):
            yield Row(command, line, files)
            files = {}
        elif "| " in line and not line.startswith("#"):
            name, text = line.split("| ", 1)
            files[name] = f"{files.get(name, '')}{text}\n"


def needs_extras(row: Row) -> bool:
    return row.command.startswith("sweep --space")  # Optuna


TABLE = [
    pytest.param(
        row,
        id=f"{file.stem}-{row.command}",
        marks=pytest.mark.extras if needs_extras(row) else (),
    )
    for file in sorted(FOLDER.glob("*.txt"))
    for row in rows(file)
]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder, with trained runs, images and files that are no YAML."""
    folder = tmp_path_factory.mktemp("workplace")
    (folder / "configs").symlink_to(ROOT / "configs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, args in RUNS.items():
            cli.main(["fit", *args, *QUICK, f"--experiment={name}"])
    write_classes(folder / "photos", count=4)
    images = np.zeros((6, 16, 16), np.uint8)
    np.savez(folder / "plain.npz", images=images)
    np.savez(folder / "short.npz", images=images, labels=np.arange(5))
    np.savez(folder / "odd.npz", images=np.zeros((6, 17, 19), np.uint8))
    (folder / "latin1.yaml").write_bytes("# Größe\n".encode("latin-1"))
    (folder / "utf16.yaml").write_bytes("a: 1\n".encode("utf-16"))
    (folder / "nul.yaml").write_bytes(b"a: b\0c\n")
    levels = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30)]
    (folder / "bomb.yaml").write_text("a0: &a0 [x, x]\n" + "".join(levels))
    return folder


def refuse(url: str) -> None:
    raise OSError("tests are offline")


def listing(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.mark.parametrize("row", TABLE)
def test_a_mistake_is_answered_with_its_line(
    row: Row, workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace)
    monkeypatch.setattr(sources, "_connect", refuse)
    for name, text in row.files.items():
        Path(name).write_text(text)
    before = listing(workplace)
    try:
        with pytest.raises(SystemExit) as stopped:
            cli.main(shlex.split(row.command))
        assert stopped.value.code == 2
        assert listing(workplace) == before
    finally:
        for name in row.files:
            Path(name).unlink()
    printed = capsys.readouterr().err
    (line,) = [line for line in printed.splitlines() if line.startswith("error:")]
    assert re.fullmatch(re.escape(row.error).replace(r"\.\.\.", ".*"), line), line
    assert len(line) < LONGEST
    assert "Traceback" not in printed


def test_the_table_is_long_and_has_no_row_twice() -> None:
    known = [(param.values[0].command, str(param.values[0].files)) for param in TABLE]  # type: ignore[union-attr]
    assert len(known) == len(set(known)) >= 120

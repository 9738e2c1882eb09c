"""The table of mistakes in `tests/mistakes/`: each wrong command is answered with its line.

It is read like this:

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

import pytest

import cli
from tests.conftest import ROOT
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


TABLE = [*rows(FOLDER / "mistakes.txt")]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A user's folder, with trained runs and a file that is no config."""
    folder = tmp_path_factory.mktemp("workplace")
    (folder / "configs").symlink_to(ROOT / "configs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, args in RUNS.items():
            cli.main(["fit", *args, *QUICK, f"--experiment={name}"])
    levels = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30)]
    (folder / "bomb.yaml").write_text("a0: &a0 [x, x]\n" + "".join(levels))
    return folder


def listing(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.mark.parametrize("row", TABLE, ids=[row.command for row in TABLE])
def test_a_mistake_is_answered_with_its_line(row, workplace, monkeypatch, capsys):
    monkeypatch.chdir(workplace)
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

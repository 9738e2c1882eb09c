"""The progress of a whole run, in a terminal and in a log file."""

import io
import re
from pathlib import Path
from typing import Any, Self

import pytest
from lightning import Trainer

from callbacks import Progress
from callbacks.progress import watch
from tests.callbacks.runs import Small, digits
from tests.models.gans import small

EPOCH = 20  # batches of 64 among the digits' training images


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Notebook(io.StringIO):
    """The output of a notebook's cell, and the line that the cell shows."""

    __module__ = "ipykernel.iostream"
    shown: str | None = None

    def display(self, data: dict[str, str], **_: Any) -> Self:
        self.shown = data["text/plain"]
        return self

    update = display


def run(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    out: io.StringIO,
    model: Any = None,
    **kwargs: Any,
) -> str:
    monkeypatch.setattr("sys.stdout", out)
    resumed = kwargs.pop("ckpt_path", None)
    options: dict[str, Any] = {"accelerator": "cpu", "logger": False, "log_every_n_steps": 1}
    trainer = Trainer(
        **(options | kwargs),
        default_root_dir=folder,
        callbacks=[Progress()],
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    trainer.fit(model or Small(), datamodule=digits(), ckpt_path=resumed)
    trainer.save_checkpoint(folder / "last.ckpt")
    return out.getvalue()


def steps(text: str) -> list[tuple[str, str]]:
    return re.findall(r"^Step (\S+) of (\S+) \(", text, flags=re.MULTILINE)


def test_a_log_file_gets_ten_lines_over_all_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = run(tmp_path, monkeypatch, io.StringIO(), max_epochs=4)
    assert "\r" not in text
    lines = text.splitlines()
    assert len(lines) == 10
    number = r"[\d.]+"
    pattern = (
        rf"Step 40 of 80 \(50%\), 00:\d\d elapsed, 00:\d\d left, loss {number}, accuracy {number}"
    )
    assert re.fullmatch(pattern, lines[4]), lines[4]
    assert lines[9].startswith("Step 80 of 80 (100%)")


def test_a_log_file_gets_a_line_after_every_fifty_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"max_steps": 520, "limit_val_batches": 0}
    found = steps(run(tmp_path, monkeypatch, io.StringIO(), **options))
    assert [int(step) for step, _ in found] == [*range(50, 501, 50), 520]


CASES = {
    "max_steps": ({"max_steps": 30}, range(3, 31, 3), 30),
    "the earlier of two ends": ({"max_steps": 500, "max_epochs": 1}, None, EPOCH),
    "fewer batches": ({"max_epochs": 5, "limit_train_batches": 4}, range(2, 21, 2), 20),
    "fewer than ten": ({"max_steps": 3}, range(1, 4), 3),
    "accumulated": ({"max_epochs": 2, "limit_train_batches": 5, "accumulate_grad_batches": 2},
                    [2, 4, 5, 7, 9, 10], 10),
    "accumulated up to max_steps": ({"max_steps": 4, "limit_train_batches": 5,
                                     "accumulate_grad_batches": 2}, [2, 4, 5, 7], 7),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_steps_are_batches(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options, expected, total = CASES[case]
    found = steps(run(tmp_path, monkeypatch, io.StringIO(), limit_val_batches=0, **options))
    assert {of for _, of in found} == {str(total)}
    if expected is not None:
        assert [int(step) for step, _ in found] == list(expected)


def test_a_gan_counts_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = run(tmp_path, monkeypatch, io.StringIO(), small(), max_steps=10, limit_val_batches=0)
    assert steps(text) == [(str(step), "10") for step in range(1, 11)]


def test_a_resumed_run_continues_its_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"limit_val_batches": 0}
    run(tmp_path, monkeypatch, io.StringIO(), max_steps=12, **options)
    checkpoint = tmp_path / "last.ckpt"
    text = run(tmp_path, monkeypatch, io.StringIO(), max_steps=20, ckpt_path=checkpoint, **options)
    assert [int(step) for step, _ in steps(text)] == [14, 16, 18, 20]


class StopsAtFour(Small):
    """Ends a run that has no planned end."""

    def on_train_batch_end(self, *_: Any) -> None:
        self.trainer.should_stop = self.global_step == 4


def test_a_run_without_end_shows_steps_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callbacks.progress.STEPS_PER_LINE", 2)
    options: dict[str, Any] = {"max_epochs": -1, "limit_val_batches": 0}
    text = run(tmp_path, monkeypatch, io.StringIO(), StopsAtFour(), **options)
    lines = re.findall(r"^(Step \d+), \d\d:\d\d elapsed, loss ", text, flags=re.MULTILINE)
    assert lines == ["Step 2", "Step 4"]


def test_a_terminal_gets_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Progress, "on_train_end", lambda *_: None)  # Lightning prints before it.
    text = run(tmp_path, monkeypatch, Terminal(), max_epochs=3)
    assert text.count("\n") == 1
    last = text.rstrip().rpartition("\r")[2]
    assert re.search(r"Training: 100%\|.*\| 60/60 \[00:\d\d<00:00, .*it/s, loss=[\d.]+", last), last


def test_a_notebook_shows_one_line_with_losses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Speaking(Small):
        def on_train_start(self) -> None:
            self.print("hello")

    out = Notebook()
    monkeypatch.setattr("IPython.display.display", out.display)
    assert run(tmp_path, monkeypatch, out, Speaking(), max_epochs=3) == "hello\n"
    assert out.shown
    assert re.fullmatch(r"Training: 100%\|.*\| 60/60 \[.*, loss=[\d.]+\]", out.shown), out.shown
    assert len(out.shown) <= 90


def test_a_notebook_shows_no_bar_of_an_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(accelerator="cpu", logger=False, callbacks=[Progress()])
    monkeypatch.setattr("sys.stdout", out := Notebook())
    for evaluate in (trainer.validate, trainer.test):
        evaluate(Small(), datamodule=digits(), verbose=False)
    trainer.predict(Small(), datamodule=digits())
    assert out.getvalue() == ""


def test_other_ranks_print_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trainer, "is_global_zero", False)
    for out in (io.StringIO(), Terminal(), Notebook()):
        assert run(tmp_path, monkeypatch, out, max_steps=3, limit_val_batches=0) == ""


def test_long_work_shows_its_progress_in_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for out, bar in ((io.StringIO(), True), (Terminal(), True), (Terminal(), False)):
        monkeypatch.setattr("sys.stdout", out)
        monkeypatch.setattr("sys.stderr", out)
        callbacks = [Progress()] if bar else []
        trainer = Trainer(logger=False, callbacks=callbacks, enable_progress_bar=bar)
        assert [*watch(trainer, range(3), "Scores")] == [0, 1, 2]
        found.append("Scores: " in out.getvalue())
    assert found == [False, True, False]


def test_validation_alone_has_a_bar_in_a_terminal_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for out in (io.StringIO(), Terminal()):
        monkeypatch.setattr("sys.stdout", out)
        trainer = Trainer(accelerator="cpu", logger=False, callbacks=[Progress()])
        trainer.validate(Small(), datamodule=digits(), verbose=False)
        found.append("Validation" in out.getvalue())
    assert found == [False, True]

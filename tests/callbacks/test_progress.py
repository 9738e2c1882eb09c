"""The progress of a whole run, in a terminal and in a log file."""

import io
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning import Trainer

from callbacks import Progress, StepMonitor
from callbacks.progress import track
from tests.callbacks.runs import Small, digits
from tests.models.gans import small


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


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
        **(options | {"limit_val_batches": 0} | kwargs),
        default_root_dir=folder,
        callbacks=[Progress(), StepMonitor()],
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    trainer.fit(model or Small(), datamodule=digits(), ckpt_path=resumed)
    trainer.save_checkpoint(folder / "last.ckpt")
    return re.sub(r"^Speed: .*\n", "", out.getvalue(), flags=re.MULTILINE)  # StepMonitor's


def steps(text: str) -> list[tuple[int, int]]:
    found = re.findall(r"^Step (\S+) of (\S+) \(", text, flags=re.MULTILINE)
    return [(int(step), int(total)) for step, total in found]


def test_a_log_file_gets_ten_lines_over_all_epochs(tmp_path, monkeypatch):
    text = run(tmp_path, monkeypatch, io.StringIO(), max_epochs=4)
    assert "\r" not in text
    first, *lines = text.splitlines()
    assert first == "Trains 80 steps (epochs: 4, steps per epoch: 20)."
    assert len(lines) == 10
    number = r"[\d.]+"
    pattern = (
        rf"Step 40 of 80 \(50%\), 00:\d\d elapsed, 00:\d\d left, loss {number}, accuracy {number}"
    )
    assert re.match(pattern, lines[4]), lines[4]
    assert lines[9].startswith("Step 80 of 80 (100%)")


def test_a_long_run_gets_a_line_after_every_fifty_batches(tmp_path, monkeypatch):
    monkeypatch.setattr("callbacks.progress.STEPS_PER_LINE", 5)
    found = steps(run(tmp_path, monkeypatch, io.StringIO(), max_steps=52))
    assert [step for step, _ in found] == [*range(5, 51, 5), 52]


CASES: dict[str, tuple[dict[str, Any], list[int], int]] = {
    "the earlier of two ends": ({"max_steps": 500, "max_epochs": 1}, [*range(2, 21, 2)], 20),
    "fewer than ten": ({"max_steps": 3}, [1, 2, 3], 3),
    "accumulated": ({"max_epochs": 2, "limit_train_batches": 5, "accumulate_grad_batches": 2},
                    [2, 4, 5, 7, 9, 10], 10),
    "accumulated up to max_steps": ({"max_steps": 4, "limit_train_batches": 5,
                                     "accumulate_grad_batches": 2}, [2, 4, 5, 7], 7),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_steps_are_batches(case, tmp_path, monkeypatch):
    options, expected, total = CASES[case]
    found = steps(run(tmp_path, monkeypatch, io.StringIO(), **options))
    assert found == [(step, total) for step in expected]


def test_a_gan_counts_batches_and_continues_counting(tmp_path, monkeypatch):
    text = run(tmp_path, monkeypatch, io.StringIO(), small(), max_steps=10)
    assert steps(text) == [(step, 10) for step in range(1, 11)]
    options: dict[str, Any] = {"max_steps": 20, "ckpt_path": tmp_path / "last.ckpt"}
    text = run(tmp_path, monkeypatch, io.StringIO(), small(), **options)
    assert [step for step, _ in steps(text)] == [12, 14, 16, 18, 20]


def test_a_run_without_end_shows_steps_alone(tmp_path, monkeypatch):
    class StopsAtFour(Small):
        def on_train_batch_end(self, *_: Any) -> None:
            self.trainer.should_stop = self.global_step == 4

    monkeypatch.setattr("callbacks.progress.STEPS_PER_LINE", 2)
    text = run(tmp_path, monkeypatch, io.StringIO(), StopsAtFour(), max_epochs=-1)
    lines = re.findall(r"^(Step \d+), \d\d:\d\d elapsed, loss ", text, flags=re.MULTILINE)
    assert lines == ["Step 2", "Step 4"]


class Clock:
    """A time that passes by so many seconds whenever a batch of `Slow` is trained."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        self.now, self.seconds = 0.0, seconds
        monkeypatch.setattr("callbacks.progress.time.perf_counter", lambda: self.now)


class Slow(Small):
    clock: Clock

    def training_step(self, *args: Any) -> Any:
        self.clock.now += self.clock.seconds
        return super().training_step(*args)


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.9, None),
        (1.1, "Will take about 1 min: 59 batches of 1.1 s."),
        (3.0, "Will take about 3 min: 59 batches of 3 s."),
        (
            15.0,
            "Will take about 15 min: 59 batches of 15 s. --trainer.max_steps 40 would take "
            "less than 10, at some loss of quality. Ctrl-C saves the run, and --ckpt_path last "
            "continues it.",
        ),
        (
            10.4,
            "Will take about 10 min: 59 batches of 10 s. --trainer.max_steps 50 would take "
            "less than 10, at some loss of quality. Ctrl-C saves the run, and --ckpt_path last "
            "continues it.",
        ),
    ],
)
def test_a_run_says_how_long_it_takes(seconds, said, terminal, tmp_path, monkeypatch):
    model, out = Slow(), Terminal() if terminal else io.StringIO()
    model.clock = Clock(monkeypatch, seconds)
    lines = run(tmp_path, monkeypatch, out, model, max_epochs=4).replace("\r", "\n").splitlines()
    assert [line.strip() for line in lines if line.startswith("Will take")] == (
        [said] if said else []
    )


def test_a_run_that_continues_says_how_long_the_rest_takes(tmp_path, monkeypatch):
    run(tmp_path, monkeypatch, io.StringIO(), max_epochs=2)
    model, out = Slow(), io.StringIO()
    model.clock = Clock(monkeypatch, 10.0)
    last = tmp_path / "last.ckpt"
    more = {"max_epochs": 4, "ckpt_path": last, "limit_val_batches": 1}
    text = run(tmp_path, monkeypatch, out, model, **more)
    assert "Will take about 3 min: 19 batches of 10 s, without validation and scores." in text


@pytest.mark.parametrize("kind", [Small, small])
def test_a_terminal_gets_one_line_of_eighty_columns_with_losses(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(Progress, "on_train_end", lambda *_: None)  # Lightning prints before it.
    monkeypatch.setattr("tqdm.std._screen_shape_wrapper", lambda: lambda _: (80, 24))
    text = run(tmp_path, monkeypatch, Terminal(), kind(), max_epochs=3)
    length, text = text.split("\n", maxsplit=1)
    assert length == "Trains 60 steps (epochs: 3, steps per epoch: 20)."
    assert text.count("\n") == 1
    last = text.rstrip().rpartition("\r")[2]
    losses = {Small: r"loss=[\d.]+", small: r"d_loss=[\d.]+, g_loss=[\d.]+"}[kind]
    assert re.match(rf"100%\|.*\| 60/60 \[00:\d\d<00:00, .*it/s, {losses}", last), last
    assert all(len(part) <= 80 for part in text.rstrip().split("\r"))


def test_losses_of_any_module_come_first():
    found = {"train_loss": torch.tensor(0.12345), "val_loss": torch.tensor(3.0)}
    trainer: Any = SimpleNamespace(callback_metrics=found, progress_bar_metrics={"speed": 12345.6})
    bar: Any = Progress()
    assert bar.get_metrics(trainer, None) == {"train_loss": "0.123", "speed": "12,300"}


def test_other_ranks_print_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "is_global_zero", False)
    for out in (io.StringIO(), Terminal()):
        assert run(tmp_path, monkeypatch, out, max_steps=3) == ""


def test_long_work_and_validation_show_a_bar_in_a_terminal_only(monkeypatch):
    for out, bar in ((io.StringIO(), True), (Terminal(), True), (Terminal(), False)):
        monkeypatch.setattr("sys.stdout", out)
        monkeypatch.setattr("sys.stderr", out)
        callbacks = [Progress()] if bar else []
        trainer = Trainer(
            accelerator="cpu", logger=False, callbacks=callbacks, enable_progress_bar=bar
        )
        assert [*track(trainer, range(3), "Scores")] == [0, 1, 2]
        trainer.validate(Small(), datamodule=digits(), verbose=False)
        shown = bar and out.isatty()
        assert ("Scores: " in out.getvalue()) == ("Validation" in out.getvalue()) == shown

"""A training whose threads wait for other programs says so once, and changes nothing."""

from itertools import count
from pathlib import Path

import pytest
import torch

from callbacks import contention
from callbacks.contention import Contention
from runtime import threads
from runtime.threads import Usage
from tests.callbacks.runs import Small, digits, trainer


def warnings_of(
    folder: Path, monkeypatch: pytest.MonkeyPatch, busy: list[float], number: int = 2
) -> list[tuple[int, str]]:
    """Step and text of each warning of a run in whose windows other programs use `busy` cores."""
    marks = (
        Usage(2, clock, own=clock * 2, all=clock * 2 + sum(busy[:window]))
        for window, clock in enumerate(count())  # each batch ends a window
    )
    found: list[tuple[int, str]] = []
    run = trainer(folder, Contention(), max_epochs=-1, max_steps=len(busy))
    monkeypatch.setattr(threads, "usage", lambda: next(marks))
    monkeypatch.setattr(threads, "allowed", lambda: 2)
    monkeypatch.setattr(contention, "SECONDS", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: number)
    monkeypatch.setattr(
        contention, "rank_zero_warn", lambda text: found.append((run.global_step, text))
    )
    run.fit(Small(), datamodule=digits())
    return found


def test_warns_once_when_another_program_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [(step, text)] = warnings_of(tmp_path, monkeypatch, [0.0, 0.3, 1.0, 1.0, 1.0])
    assert step == 3
    assert text.startswith("Other programs use 1.0 of the 2 cores")


@pytest.mark.parametrize(("busy", "number"), [([0.4] * 4, 2), ([2.0] * 4, 1)])
def test_is_silent_if_no_thread_waits(
    busy: list[float], number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert warnings_of(tmp_path, monkeypatch, busy, number) == []


def test_waits_for_a_window_to_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[Usage | None] = []
    usage = threads.usage
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(threads, "usage", lambda: measured.append(usage()))
    trainer(tmp_path, Contention(), max_steps=3).fit(Small(), datamodule=digits())
    assert len(measured) == 1


def test_another_system_than_linux_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(threads, "usage", lambda: None)
    monkeypatch.setattr(contention, "SECONDS", 0)
    monkeypatch.setattr(contention, "rank_zero_warn", pytest.fail)
    trainer(tmp_path, Contention(), max_steps=3).fit(Small(), datamodule=digits())

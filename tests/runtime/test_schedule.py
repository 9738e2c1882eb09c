"""Epochs whose end is due."""

from types import SimpleNamespace
from typing import Any

import pytest
from runtime.schedule import epoch_is_due, is_over


def trainer(
    epoch: int = 0,
    batches: int = 10,
    step: int = 10,
    max_steps: int = -1,
    max_epochs: int = -1,
    should_stop: bool = False,
    min_epochs: int | None = None,
    min_steps: int | None = None,
) -> Any:
    progress = SimpleNamespace(current=SimpleNamespace(processed=epoch + 1))
    return SimpleNamespace(
        current_epoch=epoch, num_training_batches=batches, global_step=step,
        max_steps=max_steps, max_epochs=max_epochs, should_stop=should_stop,
        min_epochs=min_epochs, min_steps=min_steps,
        fit_loop=SimpleNamespace(epoch_progress=progress),
    )  # fmt: skip


@pytest.mark.parametrize(("batches", "every"), [(10, 5), (49, 2), (50, 1), (500, 1)])
def test_short_epochs_are_due_every_few(batches: int, every: int) -> None:
    due = [e for e in range(10) if epoch_is_due(trainer(e, batches), min_steps=50)]
    assert due == list(range(every - 1, 10, every))


def test_the_last_epoch_is_due_whatever_its_length() -> None:
    assert not epoch_is_due(trainer(step=7, max_steps=8), min_steps=50)
    assert epoch_is_due(trainer(step=8, max_steps=8), min_steps=50)
    assert epoch_is_due(trainer(epoch=2, max_epochs=3), min_steps=50)
    assert not is_over(trainer(epoch=1, max_epochs=3))


def test_an_epoch_that_early_stopping_ends_is_the_last() -> None:
    assert is_over(trainer(should_stop=True))
    assert epoch_is_due(trainer(should_stop=True), min_steps=50)
    assert is_over(trainer(epoch=2, step=30, should_stop=True, min_epochs=3, min_steps=30))


def test_early_stopping_waits_for_the_minimum() -> None:
    assert not is_over(trainer(epoch=1, should_stop=True, min_epochs=3))
    assert not is_over(trainer(step=29, should_stop=True, min_steps=30))

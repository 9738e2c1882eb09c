"""A training in front of the eyes: it starts, rests, goes on by a step, ends, and learns."""

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch

from pages import live
from pages.live import TASKS, Live, plot_live

Begin = Callable[..., Live]


@pytest.fixture
def begin(monkeypatch):
    monkeypatch.setattr(live, "MIN_STEP_SECONDS", 0.0)
    yield lambda task, hidden=8, rate=0.03: Live(task, hidden, rate, "tanh")
    live.stop_all()


def wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def steps(training: Live) -> int:
    return training.model.global_step


def take_step(training: Live) -> None:
    before = training.progress
    training.step()
    wait(lambda: training.progress != before and not training.go.is_set())


@pytest.mark.parametrize("task", TASKS)
def test_a_step_is_one_and_changes_the_picture(task, begin):
    training = begin(task)
    first = np.asarray(training.picture)
    take_step(training)
    assert steps(training) == 1
    assert training.progress.startswith("step 1, ")
    take_step(training)
    assert training.progress.startswith("step 2, ")
    assert (np.asarray(training.picture) != first).any()


def test_a_step_ends_when_its_picture_is_there(begin, monkeypatch):
    training = begin("XOR")
    slow = lambda *given: time.sleep(0.3) or plot_live(*given)  # noqa: E731
    monkeypatch.setattr(live, "plot_live", slow)
    training.step()
    wait(lambda: not training.one_step)
    assert training.progress.startswith("step 1, ")


def test_it_pauses_goes_on_and_ends(begin):
    training = begin("two moons")
    training.start()
    wait(lambda: steps(training) > 5)
    training.go.clear()
    time.sleep(0.2)
    reached = steps(training)
    time.sleep(0.2)
    assert steps(training) == reached
    training.start()
    wait(lambda: steps(training) > reached)
    training.stop()
    training.thread.join(30)
    assert not training.thread.is_alive()
    training.start()  # does nothing any more
    assert not training.thread.is_alive()


def test_it_rests_when_nobody_looks(begin, monkeypatch):
    monkeypatch.setattr(live, "IDLE_SECONDS", 0.3)
    training = begin("two moons")
    training.start()
    wait(lambda: not training.go.is_set())
    assert steps(training) > 1


def test_all_end_before_the_program(begin):
    running, paused, idle = begin("XOR"), begin("two moons"), begin("GAN, ring")
    running.start()
    take_step(paused)
    live.stop_all()
    assert not any(training.thread.is_alive() for training in (running, paused, idle))


@pytest.mark.parametrize("task", TASKS)
def test_weights_that_are_no_numbers_are_drawn(task, begin):
    training = begin(task)
    for weight in training.model.state_dict().values():  # and of its average
        if weight.is_floating_point():
            weight.fill_(torch.nan)
    take_step(training)
    assert training.thread.is_alive()


def test_a_training_that_fails_has_ended(begin, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda *_: None)
    training = begin("XOR")
    monkeypatch.setattr(live, "plot_live", None)
    training.step()
    training.thread.join(60)
    assert training.ended  # so that the page does not wait for it
    training.start()  # does nothing


def test_one_that_never_started_ends(begin):
    training = begin("XOR")
    training.stop()
    training.start()
    assert not training.thread.is_alive()


def test_xor_is_learned_and_the_picture_shows_it(begin):
    training = begin("XOR")
    training.start()
    wait(lambda: steps(training) > 600)
    training.go.clear()
    take_step(training)
    picture = np.asarray(training.picture).astype(int)
    place = live.PIXELS * (0.25 / 1.5)
    near, far = round(place) + 20, round(live.PIXELS - place) - 20  # beside the four points
    redder = [[picture[y, x, 0] > picture[y, x, 2] for x in (near, far)] for y in (near, far)]
    assert redder == [[True, False], [False, True]]  # rows from above: (0, 1) and (1, 1) first


def test_the_page_gets_the_newest_picture(begin):
    training = begin("GAN, ring")
    html, text = live.show(training)
    assert html.startswith('<img alt="the plane"')
    assert "data:image/png;base64," in html
    assert text.endswith("### step 0")
    assert "where D finds them real" in text

"""A run on the small digits in place of MNIST is shorter; every other run is as long as it says."""

from types import SimpleNamespace
from typing import Any

import pytest

from callbacks import FallbackSteps
from tests.callbacks.runs import Pictures


@pytest.mark.parametrize(
    ("used_fallback", "wanted", "steps"),
    [(True, 5, 3), (True, -1, 3), (True, 2, 2), (False, 5, 5), (False, -1, -1)],
)
def test_a_run_that_falls_back_is_shorter(used_fallback, wanted, steps):
    data, loop = Pictures(), SimpleNamespace(max_steps=wanted)
    data.used_fallback = used_fallback
    trainer: Any = SimpleNamespace(datamodule=data, fit_loop=SimpleNamespace(epoch_loop=loop))
    FallbackSteps(3).on_fit_start(trainer, None)
    assert loop.max_steps == steps

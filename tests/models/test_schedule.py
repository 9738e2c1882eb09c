"""The learning rate over a run, in closed form."""

import math
import re

import pytest
from lightning import Trainer
from lightning.pytorch.callbacks import EarlyStopping

from datamodules.iris import Iris
from models.iris import IrisMLP
from models.training import Schedule


@pytest.mark.parametrize("shape", ["constant", "linear", "cosine"])
def test_a_rate_rises_stays_and_falls(shape):
    """Of 100 steps, 10 rise, 30 stay, and over 60 it falls."""
    schedule = Schedule(shape, hold=0.3, warmup=0.1)
    found = [schedule.factor(step, 100) for step in range(101)]
    assert found[:10] == pytest.approx([(step + 1) / 11 for step in range(10)])
    assert found[10:41] == [1.0] * 31
    falls = {
        "constant": lambda share: 1.0,
        "linear": lambda share: 1 - share,
        "cosine": lambda share: 0.5 + 0.5 * math.cos(math.pi * share),
    }
    assert found[40:] == pytest.approx([falls[shape](step / 60) for step in range(61)])


def test_a_rate_may_be_held_until_the_end():
    schedule = Schedule("cosine", hold=0.5, warmup=0.5)
    assert [schedule.factor(step, 10) for step in range(5, 10)] == [1.0] * 5


def test_only_a_rate_that_never_changes_is_constant():
    assert Schedule().is_constant
    assert not Schedule(warmup=0.1).is_constant
    assert not Schedule("linear").is_constant


@pytest.mark.parametrize("shape", ["constant", "linear", "cosine"])
def test_a_run_that_may_end_before_its_rate_has_fallen_says_so(shape, tmp_path, recwarn):
    model, stop = IrisMLP(schedule=Schedule(shape)), EarlyStopping("train/loss", strict=False)
    Trainer(
        max_epochs=2, callbacks=[stop], default_root_dir=tmp_path, logger=False,
        enable_checkpointing=False, enable_progress_bar=False,
    ).fit(model, Iris())  # fmt: skip
    expected = rf"EarlyStopping may end the run before model.schedule {shape} .* all \d+ steps"
    said = [re.search(expected, str(warning.message)) is not None for warning in recwarn]
    assert any(said) is (shape != "constant")

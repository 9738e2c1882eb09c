"""Faults of all kinds in random order: the run ends as one without them.

A sequence that fails is repeated without each of its faults in turn, and the shortest that still
fails is shown. The seed is in the name of the test.
"""

import errno
import os
import random
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from models.base import Module
from runtime.checkpoints import newest, problem_of
from runtime.preemption import TRY_AGAIN
from tests import ranks
from tests.faults import runs
from tests.faults.runs import Fault, at_batch, before, kill, on_write, rounds
from tests.faults.test_kills import MOMENTS

KIND = "classifier"
FAULTS = 10  # of a sequence
EPOCHS = "--trainer.max_epochs=16"  # of four batches
RETURNED = (0, 1, TRY_AGAIN, -signal.SIGKILL)


class Step(NamedTuple):
    """One fault: its name, and after how many of its moments it comes."""

    name: str
    count: int


def refused(number: int) -> Callable[..., None]:
    """Returns a function that fails as a file system does."""

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def told(signum: int) -> Fault:
    return lambda: os.kill(os.getpid(), signum)


IN_THE_RUN: dict[str, Callable[[int], object]] = {
    **{f"killed: {name}": moment for name, moment in (MOMENTS["both"] | MOMENTS[KIND]).items()},
    "killed: in a step": lambda n: before(Module, "on_train_batch_start", 2 * n, kill),
    "SIGTERM": lambda n: at_batch(2 * n, told(signal.SIGTERM)),
    "SIGUSR1": lambda n: at_batch(2 * n, told(signal.SIGUSR1)),
    "Ctrl-C": lambda n: at_batch(2 * n, told(signal.SIGINT)),
    "full disk: checkpoint": lambda n: before(torch, "save", n, refused(errno.ENOSPC)),
    "EIO: checkpoint": lambda n: before(torch, "save", n, refused(errno.EIO)),
    "EIO: metrics.csv": lambda n: on_write("metrics.csv", refused(errno.EIO), n),
    "EDQUOT: config.yaml": lambda n: on_write("config", refused(errno.EDQUOT)),
    "out of memory": lambda n: before(
        Module, "on_validation_batch_end", n, lambda: torch.empty(10**15)
    ),
}


def damage(root: Path, count: int, change: Callable[[Path, int], object]) -> None:
    """Damages the newest checkpoint of a run that has an older one."""
    found = newest(root)
    others = [p for p in root.glob("run/*/checkpoints/epoch=*") if not problem_of(p)]
    if found is not None and len(others) > 1:
        change(found.resolve(), found.stat().st_size * count // 4)


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


BETWEEN_RUNS: dict[str, Callable[[Path, int], object]] = {
    "half a checkpoint": lambda root, n: damage(root, n, os.truncate),
    "a wrong bit in a checkpoint": lambda root, n: damage(root, n, flip),
}


def draw(seed: int) -> list[Step]:
    chance = random.Random(seed)
    names = [*IN_THE_RUN, *BETWEEN_RUNS]
    return [Step(chance.choice(names), chance.randint(1, 3)) for _ in range(FAULTS)]


def check(root: Path, steps: list[Step], whole: Path) -> None:
    """Trains a run with these faults in turn, then to its end, and compares it with the whole."""
    shutil.rmtree(root, ignore_errors=True)
    for step in steps:
        if step.name in BETWEEN_RUNS:
            BETWEEN_RUNS[step.name](root, step.count)
            continue
        fault = partial(IN_THE_RUN[step.name], step.count)
        (code,) = ranks.end(runs.start(root, KIND, EPOCHS, fault=fault), runs.PATIENCE)
        assert code in RETURNED, (step, code, (root / "0.log").read_text()[-3000:])
        assert "Traceback" not in (root / "0.log").read_text(), step
    runs.finish(runs.start(root, KIND, EPOCHS), root)
    runs.check_equal(root, whole, spare=1)


def shortest(steps: list[Step], fails: Callable[[list[Step]], bool]) -> list[Step]:
    """Leaves out what a failing sequence does not need to fail."""
    for i in range(len(steps)):
        fewer = steps[:i] + steps[i + 1 :]
        if fails(fewer):
            return shortest(fewer, fails)
    return steps


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of the run without a fault."""
    root = tmp_path_factory.mktemp("whole")
    runs.finish(runs.start(root, KIND, EPOCHS), root)
    return root


@pytest.mark.parametrize("seed", range(rounds(full=200, short=5)))
def test_random_faults_lose_nothing(seed: int, tmp_path: Path, whole: Path) -> None:
    def fails(steps: list[Step]) -> bool:
        try:
            check(tmp_path / "run", steps, whole)
        except AssertionError:
            return True
        return False

    steps = draw(seed)
    if fails(steps):
        least = shortest(steps, fails)
        print(f"seed {seed}: fails with {least}")
        check(tmp_path / "run", least, whole)
        pytest.fail(f"seed {seed} failed once and not again: {steps}")


def test_a_failing_sequence_shrinks_to_what_it_needs() -> None:
    steps = [Step(name, 1) for name in "abcdefgh"]
    least = shortest(steps, lambda some: {"b", "g"} <= {step.name for step in some})
    assert [step.name for step in least] == ["b", "g"]

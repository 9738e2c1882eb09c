"""A run that is killed again and again ends as one that was never killed.

Each chain is one run, killed at a moment of each kind in turn and resumed after it.
"""

import csv
import os
import random
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
import torch

from callbacks import quality, samples
from callbacks.evaluation import Evaluation
from models.base import Module
from runtime import checkpoints
from runtime.checkpoints import AtomicCheckpointIO
from runtime.errors import LOST_PROCESS
from tests import ranks
from tests.faults import runs
from tests.faults.runs import Fault, at_batch, before, kill, on_write, rounds


def at_rename(part: str, count: int, after: bool = False) -> None:
    """Kills this process before or after the n-th rename to a path that contains `part`."""
    real, left = Path.replace, [count]

    def replace(path: Path, target: Any) -> Any:
        left[0] -= part in str(target)
        due = part in str(target) and not left[0]
        if due and not after:
            kill()
        result = real(path, target)
        if due:
            kill()
        return result

    Path.replace = replace  # type: ignore[method-assign, assignment]


def tear(name: str, count: int = 1, share: float = 0.5) -> None:
    """Kills this process within the first write to the n-th file whose path contains `name`."""

    def torn(stream: Any) -> None:
        real = stream.write

        def write(data: Any) -> None:
            real(data[: 1 + int(len(data) * share)])
            stream.flush()
            kill()

        stream.write = write

    on_write(name, torn, count)


def within_checkpoint(count: int) -> None:
    """Kills this process when half of the n-th checkpoint is written."""
    real, left = torch.save, [count]

    def save(content: Any, file: Any) -> None:
        real(content, file)
        left[0] -= 1
        if not left[0]:
            file.flush()
            os.truncate(file.name, file.tell() // 2)
            kill()

    torch.save = save


MOMENTS: dict[str, dict[str, Callable[[int], None]]] = {
    "both": {
        "training": lambda n: at_batch(3 * n, kill),
        "validation": lambda n: before(Module, "on_validation_batch_end", n),
        "half a checkpoint": within_checkpoint,
        "before a checkpoint's rename": lambda n: at_rename("epoch=", n),
        "after a checkpoint's rename": lambda n: at_rename("epoch=", n, after=True),
        "before the link": lambda n: before(checkpoints, "link", n),
        "within the link": lambda n: at_rename("last.ckpt", n),
        "after the link": lambda n: at_rename("last.ckpt", n, after=True),
        "before a removal": lambda n: before(AtomicCheckpointIO, "remove_checkpoint", n),
        "half a row of metrics.csv": lambda n: tear("metrics.csv", 3 * n),
        "the start of a row of metrics.csv": lambda n: tear("metrics.csv", 3 * n, 0.0),
        "half of config.yaml": lambda n: tear("config"),
        "rewriting metrics.csv": lambda n: before(csv.DictWriter, "writeheader", 2),
    },
    "GAN": {
        "samples": lambda n: before(samples, "sample", n),
        "a picture": lambda n: at_rename("samples.png", n),
        "quality scores": lambda n: before(quality, "evaluate", n),
        "half a picture": lambda n: tear(".png", n),
    },
    "classifier": {
        "half of metrics.json": lambda n: tear("metrics.partial.json"),
        "a figure of the end": lambda n: at_rename("confusion_val.png", 1),
        "after the last checkpoint": lambda n: before(Evaluation, "on_train_end", 1),
    },
}


@pytest.mark.parametrize(("kind", "processes"), [("GAN", 2), ("classifier", 1)])
def test_killed_at_any_moment(
    kind: str, processes: int, tmp_path: Path, uninterrupted: Callable[..., Path]
) -> None:
    """Half of the kills come from outside at random, the others at chosen moments."""
    whole, chance, left = uninterrupted(kind, processes=processes), random.Random(0), list[str]()
    moments = MOMENTS["both"] | MOMENTS[kind]
    for chain in range(rounds(full=10, short=1)):
        root = tmp_path / str(chain)
        for link in range(rounds(full=10, short=4)):
            fault, delay = (lambda: None), chance.uniform(0, 2)
            if link % 2:
                left = left or chance.sample([*moments], len(moments))
                fault, delay = partial(moments[left.pop()], chance.randint(1, 3)), runs.PATIENCE
            started = runs.start(root, kind, fault=fault, processes=processes)
            if not killed(started, delay):
                break  # it had ended before
            runs.check_whole(root)
        runs.finish(runs.start(root, kind, processes=processes), root)
        runs.check_equal(root, whole)


def killed(started: list[ranks.ForkProcess], seconds: float) -> bool:
    """Kills all processes after so long, or when rank zero has ended; returns whether it did."""
    limit = time.monotonic() + seconds
    while started[0].is_alive() and time.monotonic() < limit:
        time.sleep(0.01)
    for process in started:
        process.kill()
    code = ranks.end(started, 1)[0]
    assert code in (0, -signal.SIGKILL), code
    return code != 0


# -- one of two ranks -----------------------------------------------------------------------------


def logs_of(root: Path) -> list[str]:
    return [(root / f"{rank}.log").read_text() for rank in (0, 1)]


def errors(root: Path) -> list[str]:
    lines = [line for log in logs_of(root) for line in log.splitlines()]
    return [line.removeprefix("error: ") for line in lines if line.startswith("error:")]


@pytest.mark.ddp
@pytest.mark.parametrize(("kind", "victim"), [("GAN", 0), ("classifier", 1)])
def test_a_killed_rank_ends_the_other_and_the_run_goes_on_to_the_bit(
    kind: str, victim: int, tmp_path: Path, uninterrupted: Callable[..., Path]
) -> None:
    chance = random.Random(victim)
    for number in range(rounds(full=10, short=1)):
        root, step = tmp_path / str(number), chance.randrange(5, runs.STEPS - 2)
        later: Fault = Timer(chance.uniform(0, 0.02), kill).start
        fault = partial(at_batch, step, later)
        codes = ranks.end(runs.start(root, kind, fault=fault, processes=2, rank=victim), 120)
        assert codes[victim] == -signal.SIGKILL, codes
        assert codes[1 - victim] == 1, codes  # it does not hang
        assert errors(root) == [LOST_PROCESS]
        assert "Traceback" not in logs_of(root)[1 - victim]
        runs.finish(runs.start(root, kind, processes=2), root)
        runs.check_equal(root, uninterrupted(kind, processes=2), spare=1)


@pytest.mark.ddp
def test_a_mistake_that_rank_zero_alone_sees_ends_both(tmp_path: Path) -> None:
    place = f"--trainer.default_root_dir={tmp_path}/0.log/runs"
    assert ranks.end(runs.start(tmp_path, "classifier", place, processes=2), 120) == [2, 2]
    (error,) = set(errors(tmp_path))
    assert "cannot be created" in error


@pytest.mark.ddp
def test_a_defect_on_one_rank_shows_where_it_is(tmp_path: Path) -> None:
    def defect() -> None:
        raise RuntimeError("a defect of the user's own")

    fault = partial(at_batch, 2, defect)
    started = runs.start(tmp_path, "classifier", fault=fault, processes=2, rank=1)
    assert ranks.end(started, 120) == [1, 1]
    assert errors(tmp_path) == [LOST_PROCESS]
    assert "a defect of the user's own" in logs_of(tmp_path)[1]
    assert "Traceback" in logs_of(tmp_path)[1]

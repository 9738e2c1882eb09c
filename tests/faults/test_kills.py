"""A run that is killed again and again ends as one that was never killed.

Each chain is one run, killed at a moment of each kind in turn and resumed after it.
"""

import os
import random
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from callbacks import quality, samples
from callbacks.evaluation import Evaluation
from callbacks.finite import FiniteLoss
from runtime import checkpoints
from runtime.checkpoints import AtomicCheckpointIO
from tests import ranks
from tests.faults import runs
from tests.faults.ledger import Ledger, Row, rounds
from tests.faults.runs import Fault, kill, tear

CASES = [("GAN", 1), ("cGAN", 1), ("classifier", 1), ("GAN", 2), ("classifier", 2)]


def before(owner: Any, name: str, count: int, after: bool = False) -> None:
    """Kills this process before or after the n-th call of a function."""
    real, left = getattr(owner, name), [count]

    def called(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if not left[0] and not after:
            kill()
        result = real(*args, **kwargs)
        if not left[0]:
            kill()
        return result

    setattr(owner, name, called)


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


GAN_MOMENTS: dict[str, Callable[[int], None]] = {
    "samples": lambda n: before(samples, "sample", n),
    "a picture": lambda n: at_rename("samples.png", n),
    "quality scores": lambda n: before(quality.GeneratorQuality, "compute", n),
    "half a picture": lambda n: tear(".png", n),
}
CLASSIFIER_MOMENTS: dict[str, Callable[[int], None]] = {
    "half of metrics.json": lambda n: tear("metrics.partial.json"),
    "a figure of the end": lambda n: at_rename("confusion_val.png", 1),
    "after the last checkpoint": lambda n: before(Evaluation, "on_train_end", 1),
}
MOMENTS: dict[str, Callable[[int], None]] = {
    "training": lambda n: before(FiniteLoss, "on_train_batch_end", 3 * n),
    "validation": lambda n: before(Evaluation, "on_validation_batch_end", n),
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
    "rewriting metrics.csv": lambda n: before(runs.csv.DictWriter, "writeheader", 2),
}  # fmt: skip


def test_killed_at_any_moment(
    tmp_path: Path, uninterrupted: Callable[..., tuple[Path, float]], ledger: Ledger
) -> None:
    """Half of the kills come from outside at random, the others at chosen moments."""
    kills = rounds(full=200, short=12)
    cases, links = (CASES, 10) if kills > 100 else ([("GAN", 2), ("classifier", 1)], 6)
    chance, left = random.Random(0), {kind: list[str]() for kind, _ in cases}
    done = {processes: 0 for _, processes in cases}
    for chain in range(kills // links):
        kind, processes = cases[chain % len(cases)]
        whole, seconds = uninterrupted(kind, processes)
        root = tmp_path / f"chain{chain}"
        for link in range(links):
            delay, fault = chance.uniform(0, seconds), nothing
            if link % 2:
                delay, fault = runs.PATIENCE, chosen(kind, left[kind], chance)
            while not killed(runs.start(root, kind, fault=fault, processes=processes), delay):
                delay, fault = chance.uniform(0, seconds / 2), nothing  # it had ended before
            runs.check_whole(root)
            done[processes] += 1
        runs.finish(runs.start(root, kind, processes=processes), root)
        runs.check_equal(root, whole)
    for processes, count in done.items():
        ledger.add(Row(f"SIGKILL, {processes} process{'es' * (processes > 1)}", count))


def nothing() -> None:
    """No fault."""


def chosen(kind: str, left: list[str], chance: random.Random) -> Fault:
    """Returns a kill at the next of all moments, in random order."""
    moments = MOMENTS | (CLASSIFIER_MOMENTS if kind == "classifier" else GAN_MOMENTS)
    if not left:
        left += chance.sample([*moments], len(moments))
    return partial(moments[left.pop()], chance.randint(1, 3))


def killed(started: list[ranks.ForkProcess], after: float | None) -> bool:
    """Kills all processes after so many seconds, or when rank zero has; returns whether it did."""
    limit = time.monotonic() + (runs.PATIENCE if after is None else after)
    while started[0].is_alive() and time.monotonic() < limit:
        time.sleep(0.01)
    for process in started:
        process.kill()
    codes = ranks.end(started, 1)
    assert codes[0] in (0, -signal.SIGKILL), codes
    return codes[0] == -signal.SIGKILL

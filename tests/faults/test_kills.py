"""A run that is killed, stopped or refused again and again ends as one that was not.

Each chain or sequence is one run, which meets a fault at a moment of each kind in turn and is
resumed after it.
"""

import csv
import errno
import os
import random
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np
import pytest
import torch

from callbacks import quality, samples
from callbacks.evaluation import Evaluation
from datamodules import store
from datamodules.store import Store, StoredImages
from models.base import Module
from runtime import checkpoints
from runtime.checkpoints import AtomicCheckpointIO, newest, problem_of
from runtime.errors import LOST_PROCESS
from runtime.preemption import SAVED_EXIT_CODE
from tests import ranks
from tests.datamodules.pictures import write_classes
from tests.faults import runs
from tests.faults.runs import Fault, at_batch, before, kill, on_write, raising, rounds


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

    Path.replace = replace


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
        "samples": lambda n: before(samples, "generate", n),
        "a picture": lambda n: at_rename("samples.png", n),
        "quality scores": lambda n: before(quality, "compute_report", n),
        "half a picture": lambda n: tear(".png", n),
    },
    "classifier": {
        "half of metrics.json": lambda n: tear("metrics.partial.json"),
        "a figure of the end": lambda n: at_rename("confusion_val.png", 1),
        "after the last checkpoint": lambda n: before(Evaluation, "on_train_end", 1),
    },
}


def test_killed_at_any_moment(tmp_path, uninterrupted):
    """Half of the kills come from outside at random, the others at chosen moments."""
    whole, chance, left = uninterrupted("GAN", processes=2), random.Random(0), list[str]()
    moments = MOMENTS["both"] | MOMENTS["GAN"]
    for chain in range(rounds(full=10, short=1)):
        root = tmp_path / str(chain)
        for link in range(rounds(full=10, short=4)):
            fault, delay = (lambda: None), chance.uniform(0, 2)
            if link % 2:
                left = left or chance.sample([*moments], len(moments))
                fault, delay = partial(moments[left.pop()], chance.randint(1, 3)), runs.PATIENCE
            if not killed(runs.start(root, "GAN", fault=fault, processes=2), delay):
                break  # it had ended before
            runs.check_whole(root)
        runs.finish(runs.start(root, "GAN", processes=2), root)
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
def test_a_killed_rank_ends_the_other_and_the_run_continues_to_the_bit(
    kind, victim, tmp_path, uninterrupted
):
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
def test_a_rank_killed_while_it_decodes_or_reads_loses_nothing(tmp_path, monkeypatch):
    photos = write_classes(tmp_path / "photos", count=100)
    own = ["--data=ImageFolder", f"--data.path={photos}", "--data.size=16",
           "--data.batch_size=32"]  # fmt: skip
    monkeypatch.setenv("LADDER_CACHE", str(tmp_path / "whole"))
    start = partial(start_with, own)
    runs.finish(start(tmp_path / "undisturbed"), tmp_path / "undisturbed")
    monkeypatch.setenv("LADDER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "CHUNK_FILES", 50)  # of 200
    root = tmp_path / "run"
    decoding = partial(before, Store, "_decode_into", 3)
    assert ranks.end(start(root, fault=decoding, processes=1), 120) == [-signal.SIGKILL]
    codes = ranks.end(start(root, fault=partial(at_read, 12), rank=1), 120)
    assert codes == [1, -signal.SIGKILL]
    assert errors(root) == [LOST_PROCESS]
    (file,) = (tmp_path / "cache").glob("*/pixels.npy")
    assert np.load(file).shape == (200, 3, 16, 16)
    assert len([*file.parent.iterdir()]) == 2  # nothing is left of the one that was killed
    runs.finish(start(root), root)
    runs.check_equal(root, tmp_path / "undisturbed", spare=1)


def start_with(
    options: list[str], root: Path, processes: int = 2, **fault: Any
) -> list[ranks.ForkProcess]:
    return runs.start(root, "classifier", *options, data=False, processes=processes, **fault)


def at_read(count: int) -> None:
    """Kills this process when it reads images for the n-th time."""
    before(StoredImages, "__getitem__", count)


@pytest.mark.ddp
def test_a_mistake_that_rank_zero_alone_sees_ends_both(tmp_path):
    place = f"--trainer.default_root_dir={tmp_path}/0.log/runs"
    assert ranks.end(runs.start(tmp_path, "classifier", place, processes=2), 120) == [2, 2]
    (error,) = set(errors(tmp_path))
    assert "cannot be created" in error


@pytest.mark.ddp
def test_a_defect_on_one_rank_shows_where_it_is(tmp_path):
    def defect() -> None:
        raise RuntimeError("a defect of the user's own")

    fault = partial(at_batch, 2, defect)
    started = runs.start(tmp_path, "classifier", fault=fault, processes=2, rank=1)
    assert ranks.end(started, 120) == [1, 1]
    assert errors(tmp_path) == [LOST_PROCESS]
    assert "a defect of the user's own" in logs_of(tmp_path)[1]
    assert "Traceback" in logs_of(tmp_path)[1]


# -- faults of all kinds, one after another -------------------------------------------------------

KIND = "classifier"
EPOCHS = "--trainer.max_epochs=16"  # of four batches


def told(signum: int) -> Fault:
    return lambda: os.kill(os.getpid(), signum)


IN_THE_RUN: dict[str, Callable[[int], object]] = {
    **{f"killed: {name}": moment for name, moment in (MOMENTS["both"] | MOMENTS[KIND]).items()},
    "killed: in a step": lambda n: before(Module, "on_train_batch_start", 2 * n, kill),
    "SIGTERM": lambda n: at_batch(2 * n, told(signal.SIGTERM)),
    "SIGUSR1": lambda n: at_batch(2 * n, told(signal.SIGUSR1)),
    "Ctrl-C": lambda n: at_batch(2 * n, told(signal.SIGINT)),
    "full disk: checkpoint": lambda n: before(torch, "save", n, raising(errno.ENOSPC)),
    "EIO: checkpoint": lambda n: before(torch, "save", n, raising(errno.EIO)),
    "EIO: metrics.csv": lambda n: on_write("metrics.csv", raising(errno.EIO), n),
    "EDQUOT: config.yaml": lambda n: on_write("config", raising(errno.EDQUOT)),
    "out of memory": lambda n: before(
        Evaluation, "on_validation_batch_end", n, lambda: torch.empty(10**15)
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


@pytest.mark.parametrize("seed", range(rounds(full=200, short=5)))
def test_random_faults_lose_nothing(seed, tmp_path, uninterrupted):
    """Ten faults in turn, and the run to its end. If it fails, the sequence is shown."""
    chance = random.Random(seed)
    names = [*IN_THE_RUN, *BETWEEN_RUNS]
    steps = [(chance.choice(names), chance.randint(1, 3)) for _ in range(10)]
    print(*steps, sep="\n")
    for name, count in steps:
        if name in BETWEEN_RUNS:
            BETWEEN_RUNS[name](tmp_path, count)
            continue
        fault = partial(IN_THE_RUN[name], count)
        (code,) = ranks.end(runs.start(tmp_path, KIND, EPOCHS, fault=fault), runs.PATIENCE)
        log = (tmp_path / "0.log").read_text()
        assert code in (0, 1, SAVED_EXIT_CODE, -signal.SIGKILL), (name, code, log[-3000:])
        assert "Traceback" not in log, name
    runs.finish(runs.start(tmp_path, KIND, EPOCHS), tmp_path)
    runs.check_equal(tmp_path, uninterrupted(KIND, EPOCHS), spare=1)

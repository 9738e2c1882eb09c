"""A full or read-only disk is one line, and after it the run goes on to the same bits."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from callbacks import samples
from runtime.checkpoints import problem_of
from tests.faults import runs
from tests.faults.disks import fill, make_room, small_disk
from tests.faults.ledger import Ledger, Row, rounds


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk") as folder:
        yield folder


def full_at(disk: Path, name: str, count: int) -> None:
    """Fills the disk when the n-th file whose path contains `name` is opened to be written."""

    def act(stream: Any) -> Any:
        fill(disk)
        return stream

    runs.on_write(name, act, count)


def full_before(disk: Path, owner: Any, name: str, count: int) -> None:
    """Fills the disk before the n-th call of a function."""
    real, left = getattr(owner, name), [count]

    def called(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if not left[0]:
            fill(disk)
        return real(*args, **kwargs)

    setattr(owner, name, called)


GAN_FILES: dict[str, Callable[[Path, int], None]] = {
    "config.yaml": lambda disk, n: full_at(disk, "config.partial.yaml", 1),
    "metrics.csv": lambda disk, n: full_at(disk, "metrics.csv", 1),
    "checkpoint": lambda disk, n: full_before(disk, torch, "save", n),
    "figure": lambda disk, n: full_at(disk, ".png", 2 * n),
    "TensorBoard": lambda disk, n: full_before(disk, samples, "log_picture", n),
}
CLASSIFIER_FILES: dict[str, Callable[[Path, int], None]] = {
    "metrics.json": lambda disk, n: full_at(disk, "metrics.partial.json", 1),
    "figure of the end": lambda disk, n: full_at(disk, "confusion", 1),
}


@pytest.mark.parametrize("kind", ["GAN", "classifier"])
def test_a_full_disk_stops_a_run_and_loses_nothing(
    kind: str, tmp_path: Path, disk: Path, ledger: Ledger
) -> None:
    """One run meets a full disk at each kind of file in turn."""
    files = GAN_FILES if kind == "GAN" else CLASSIFIER_FILES
    whole = tmp_path / "whole"
    runs.finish(runs.start(whole, kind), whole)
    repeats = rounds(full=4, short=1)
    for n in range(1, repeats + 1):
        root = disk / str(n)
        for name, fault in files.items():
            started = runs.start(root, kind, fault=partial(fault, disk, n), logs=tmp_path)
            line = runs.fails(started, tmp_path)
            assert str(root) in line, (name, line)
            assert re.search(r"No space left.*MB are free|MB are free.*No space left", line), line
            assert "--ckpt_path last" in line
            for path in root.glob("run/*/checkpoints/[!.]*.ckpt"):
                assert not problem_of(path), (name, path)
            make_room(disk)
        runs.finish(runs.start(root, kind, logs=tmp_path), tmp_path)
        runs.check_equal(root, whole)
    for name in files:
        ledger.add(Row(f"disk full at {name}", repeats))

"""A clock that jumps by a day changes nothing of a run, and not which checkpoint is `last`."""

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from runtime.checkpoints import newest
from tests.conftest import ROOT
from tests.faults import runs
from tests.faults.ledger import Ledger, Row, rounds
from tests.faults.test_files import at_batch

DAY = 86_400.0
FIXTURE = ROOT / "tests" / "fixtures" / "iris" / "checkpoints" / "last.ckpt"


def jump(seconds: float) -> None:
    """Moves this process's clock, also in the dates of files that it writes from here on."""
    real, write, link = time.time, Path.replace, Path.symlink_to

    def dated(path: Path) -> None:
        moment = real() + seconds
        os.utime(path, (moment, moment), follow_symlinks=False)

    def replace(path: Path, target: Path) -> Path:
        found = write(path, target)
        dated(Path(target))
        return found

    def symlink(path: Path, target: str) -> None:
        link(path, target)
        dated(path)

    time.time = lambda: real() + seconds
    Path.replace, Path.symlink_to = replace, symlink  # type: ignore[method-assign, assignment]


def jump_and_kill(seconds: float, batch: int) -> None:
    """Moves the clock between two checkpoints, and kills this process after the second."""
    at_batch(10, partial(jump, seconds))
    at_batch(batch, runs.kill)


@pytest.mark.parametrize("seconds", [-DAY, DAY][: rounds(full=2, short=1)])
def test_a_clock_that_jumps_during_a_run(
    seconds: float,
    tmp_path: Path,
    uninterrupted: Callable[..., tuple[Path, float]],
    ledger: Ledger,
) -> None:
    """The run is killed after the jump, and goes on with the right clock."""
    count = rounds(full=10, short=1)
    whole, _ = uninterrupted("classifier")
    for number in range(count):
        root = tmp_path / str(number)

        fault = partial(jump_and_kill, seconds, 14 + number % 2)
        limit = "--trainer.max_time=00:12:00:00"  # half a day
        (process,) = runs.start(root, "classifier", limit, fault=fault)
        process.join(runs.PATIENCE)
        assert process.exitcode == -9, (root / "0.log").read_text()
        folder = runs.folder_of(root)
        found = newest(root)
        assert found is not None
        assert found.resolve().name == "epoch=002-step=0000012.ckpt"
        (folder / "checkpoints" / "last.ckpt").unlink()  # the names say which is newer
        found = newest(root)
        assert found is not None
        assert found.name == "epoch=002-step=0000012.ckpt"
        runs.finish(runs.start(root, "classifier", limit), root)
        runs.check_equal(root, whole, spare=1)
    ledger.add(Row(f"clock jumps a day {'back' if seconds < 0 else 'forth'}", count))


def test_dates_decide_only_between_runs(tmp_path: Path, ledger: Ledger) -> None:
    old, new = (tmp_path / name / "checkpoints" for name in ("version_0", "version_1"))
    now, names = time.time(), ["epoch=000-step=0000004.ckpt", "epoch=001-step=0000008.ckpt"]
    for folder, ages in {old: (100, 800), new: (900, 700)}.items():  # the clock jumped back in old
        folder.mkdir(parents=True)
        for name, age, step in zip(names, ages, (4, 8), strict=True):
            content = torch.load(FIXTURE, weights_only=True) | {"global_step": step}
            torch.save(content, folder / name)
            os.utime(folder / name, (now - age, now - age))
    os.utime(old / names[0], (now - 750, now - 750))
    for folder in (old, new):
        assert newest(folder) == folder / names[1]
        (folder / "last.ckpt").symlink_to(names[1])
        os.utime(folder / "last.ckpt", (now - 710, now - 710), follow_symlinks=False)
    assert newest(tmp_path) == new / "last.ckpt"
    (new / names[1]).write_bytes(b"")
    with pytest.warns(UserWarning, match="Going back to the checkpoint before it"):
        assert newest(tmp_path) == new / names[0]
    ledger.add(Row("dates of checkpoints in disorder", 4))

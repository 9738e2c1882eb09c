"""Files that vanish, are damaged or have two users are one line, and lose nothing."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from callbacks.finite import FiniteLoss
from tests import ranks
from tests.faults import runs
from tests.faults.ledger import Ledger, Row, rounds
from tests.faults.runs import Fault


def idx(folder: Path) -> list[str]:
    """Writes a data set of the shape of MNIST, but with few examples (see `few`)."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    chance = np.random.default_rng(0)
    for part, count in {"train": 64, "t10k": 16}.items():
        header = np.array([0x803, count, 28, 28], ">u4").tobytes()
        pixels = chance.integers(0, 255, (count, 28, 28), dtype=np.uint8).tobytes()
        (raw / f"{part}-images-idx3-ubyte").write_bytes(header + pixels)
        labels = (np.arange(count) % 10).astype(np.uint8).tobytes()
        header = np.array([0x801, count], ">u4").tobytes()
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(header + labels)
    return ["--data=Images", "--data.dataset=mnist", f"--data.data_dir={folder}"]


def image_folder(folder: Path) -> list[str]:
    """Writes a folder of two classes of images."""
    chance = np.random.default_rng(0)
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for i in range(40):
            pixels = chance.integers(0, 255, (16, 16), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    sizes = ["--data.size=16", "--data.channels=1", "--data.cache=false"]
    return ["--data=ImageFolder", f"--data.path={folder}", *sizes]


def arrays(folder: Path) -> list[str]:
    """Writes a file of arrays."""
    folder.mkdir(parents=True)
    chance = np.random.default_rng(0)
    pixels = chance.integers(0, 255, (80, 16, 16), dtype=np.uint8)
    np.savez(folder / "data.npz", images=pixels, labels=np.arange(80) % 2)
    return ["--data=ImageArrays", f"--data.path={folder / 'data.npz'}"]


def few() -> None:
    """Lets MNIST have few examples."""
    from dataclasses import replace

    from datamodules import sources

    sources.DATASETS["mnist"] = replace(
        sources.DATASETS["mnist"], num_train=64, num_test=16, judge=None
    )


SOURCES: dict[str, Callable[[Path], list[str]]] = {
    "IDX": idx, "image folder": image_folder, "npz": arrays
}  # fmt: skip
DAMAGES: dict[str, Callable[[Path], Any]] = {
    "removed": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "another file": lambda path: path.write_bytes(b"no data, but a text of some length" * 9),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}
# A folder of images has one image less.
HARMLESS = [("image folder", "removed"), ("image folder", "a folder")]


def fit_on(data: list[str], root: Path) -> list[str]:
    """Arguments of a short run of a classifier."""
    own = [option for option in runs.SMALL if not option.startswith("--data")]
    place = [f"--trainer.default_root_dir={root}", "--trainer.max_epochs=2"]
    data = [*data, "--data.batch_size=8", "--data.val_fraction=0.25"]
    return ["fit", *runs.MODELS["classifier"], *own, *data, *place]


def test_damaged_data_are_one_line(tmp_path: Path, ledger: Ledger) -> None:
    """The line names the file."""
    count, chance = rounds(full=50, short=3), np.random.default_rng(0)
    cases = [(s, d) for d in DAMAGES for s in SOURCES]
    cases = [case for case in cases if case not in HARMLESS]
    silent = 0
    for number in range(count):
        source, damage = cases[(3 * number) % len(cases)]
        data = SOURCES[source](tmp_path / f"data{number}")
        files = sorted(path for path in (tmp_path / f"data{number}").rglob("*") if path.is_file())
        victim = files[int(chance.integers(len(files)))]
        DAMAGES[damage](victim)
        args = fit_on(data, tmp_path / "runs")
        line = runs.fails(runs.command(tmp_path, *args, fault=few), tmp_path, code=2)
        silent += victim.name not in line
        assert victim.name in line, (source, damage, line)
    ledger.add(Row("data damaged before a run", count, silent=silent))


def at_batch(number: int, act: Callable[[], Any]) -> None:
    """Does something after the n-th batch."""
    real, left = FiniteLoss.on_train_batch_end, [number]

    def called(*args: Any) -> None:
        real(*args)
        left[0] -= 1
        if not left[0]:
            act()

    FiniteLoss.on_train_batch_end = called  # type: ignore[method-assign]


def test_data_that_vanish_during_a_run_change_nothing(tmp_path: Path, ledger: Ledger) -> None:
    """All examples are in memory."""
    sources = [*SOURCES][: rounds(full=3, short=1)]
    for source in sources:
        folder = tmp_path / source
        data = SOURCES[source](folder)
        for root in (tmp_path / f"{source} whole", tmp_path / f"{source} robbed"):
            robbed = root.name.endswith("robbed")
            rob: Fault = partial(at_batch, 3, partial(shutil.rmtree, folder)) if robbed else few
            fault = (lambda rob=rob: (few(), rob())) if source == "IDX" else rob
            runs.finish(runs.command(tmp_path, *fit_on(data, root), fault=fault), tmp_path)
        runs.check_equal(root, tmp_path / f"{source} whole")
    ledger.add(Row("data removed during a run", len(sources)))


@pytest.fixture
def whole(uninterrupted: Callable[..., tuple[Path, float]]) -> Path:
    return uninterrupted("classifier")[0]


@pytest.mark.parametrize("fault", ["renamed", "removed"])
def test_a_run_whose_folder_goes_ends_in_one_line(
    fault: str, tmp_path: Path, whole: Path, ledger: Ledger
) -> None:
    count = rounds(full=10, short=1)
    for number in range(1, count + 1):
        root = tmp_path / str(number)
        folder, kept = root / "run" / "version_0", root / "run" / "version_kept"
        act = partial(folder.rename, kept) if fault == "renamed" else partial(shutil.rmtree, folder)
        logs = tmp_path
        at = partial(at_batch, 4 + 2 * number, act)
        line = runs.fails(runs.start(root, "classifier", fault=at, logs=logs), logs)
        assert f"{folder} was removed or renamed while the run was at step" in line
        assert not folder.exists(), "the run wrote into a new folder"
        runs.finish(runs.start(root, "classifier", logs=logs), logs)  # goes on, or a new run
        runs.check_equal(root, whole, spare=2)
    ledger.add(Row(f"run folder {fault} during a run", count))


def test_a_run_whose_last_checkpoint_is_removed_goes_on(
    tmp_path: Path, whole: Path, ledger: Ledger
) -> None:
    """The first time it is also killed before it links the next."""
    cases = [runs.kill, lambda: None][: rounds(full=2, short=1)]
    for then in cases:
        root = tmp_path / then.__name__
        last = root / "run" / "version_0" / "checkpoints" / "last.ckpt"
        act = lambda last=last, then=then: (last.unlink(), then())  # noqa: E731
        started = runs.start(root, "classifier", fault=partial(at_batch, 10, act))
        ranks.end(started, runs.PATIENCE)
        if then is runs.kill:
            assert not last.exists()
            runs.finish(runs.start(root, "classifier"), root)
        runs.check_equal(root, whole, spare=1)
    ledger.add(Row("last.ckpt removed during a run", len(cases)))


def test_runs_that_start_at_once_get_a_folder_each(
    tmp_path: Path, whole: Path, ledger: Ledger
) -> None:
    count = rounds(full=10, short=1)
    for number in range(count):
        root = tmp_path / str(number)
        logs = [root / "a", root / "b"]
        for folder in logs:
            folder.mkdir(parents=True)
        started = [runs.start(root, "classifier", logs=folder) for folder in logs]
        for processes, folder in zip(started, logs, strict=True):
            runs.finish(processes, folder)
        versions = [*(root / "run").glob("version_*")]
        assert len(versions) == 2
        for version in versions:
            shutil.copytree(version, root / version.name / "run" / "version_0", symlinks=True)
            runs.check_equal(root / version.name, whole)
    ledger.add(Row("two runs that start at once", count))


def test_a_run_is_not_trained_twice_at_once(tmp_path: Path, whole: Path, ledger: Ledger) -> None:
    """The first that locks the folder waits in its first batch until the other has ended."""
    count = rounds(full=20, short=1)
    for number in range(count):
        root = tmp_path / str(number)
        logs, go = [root / "a", root / "b"], root / "go"
        for folder in logs:
            folder.mkdir(parents=True)
        ranks.end(runs.start(root, "classifier", fault=partial(at_batch, 6, runs.kill)), 300)
        hold = partial(at_batch, 1, partial(runs.wait_for, go.exists))
        started = [runs.start(root, "classifier", fault=hold, logs=folder) for folder in logs]
        runs.wait_for(lambda started=started: not all(p.is_alive() for (p,) in started))
        loser = next(i for i, (process,) in enumerate(started) if not process.is_alive())
        line = runs.fails(started[loser], logs[loser], code=2)
        assert f"is being trained by process {started[1 - loser][0].pid} on " in line
        go.touch()
        runs.finish(started[1 - loser], logs[1 - loser])
        runs.check_equal(root, whole)
    ledger.add(Row("one run resumed twice at once", count))

"""A full or read-only disk is one line, and after it the run goes on to the same bits."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from callbacks import samples
from runtime.checkpoints import problem_of
from tests.faults import runs
from tests.faults.runs import before, on_write, rounds

Uninterrupted = Callable[..., Path]


def mount(*args: str) -> bool:
    return not subprocess.run(["mount", *args], capture_output=True).returncode


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)):
        pytest.skip("no right to mount: run as root, or `unshare -rm make test-faults`")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def read_only(disk: Path) -> Iterator[None]:
    """Makes a mounted disk read-only in the meantime."""
    assert mount("-o", "remount,ro", str(disk))
    try:
        yield
    finally:
        assert mount("-o", "remount,rw", str(disk))


def fill(disk: Path) -> None:
    """Writes to the disk until it is full."""
    with (disk / "filler").open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                continue


def full_at(disk: Path, name: str, count: int = 1) -> None:
    """Fills the disk when the n-th file whose path contains `name` is opened to be written."""
    on_write(name, lambda stream: fill(disk), count)


FILES: dict[str, dict[str, Callable[[Path, int], None]]] = {
    "GAN": {
        "config.yaml": lambda disk, n: full_at(disk, "config.partial.yaml"),
        "metrics.csv": lambda disk, n: full_at(disk, "metrics.csv"),
        "checkpoint": lambda disk, n: before(torch, "save", n, partial(fill, disk)),
        "picture": lambda disk, n: full_at(disk, ".png", 2 * n),
        "TensorBoard": lambda disk, n: before(samples, "log_picture", n, partial(fill, disk)),
    },
    "classifier": {"metrics.json": lambda disk, n: full_at(disk, "metrics.partial.json")},
}


@pytest.mark.parametrize("kind", FILES)
def test_a_full_disk_stops_a_run_and_loses_nothing(
    kind: str, tmp_path: Path, disk: Path, uninterrupted: Uninterrupted
) -> None:
    """One run meets a full disk at each kind of file in turn."""
    for n in range(1, 1 + rounds(full=4, short=1)):
        root = disk / str(n)
        for name, fault in FILES[kind].items():
            started = runs.start(root, kind, fault=partial(fault, disk, n), logs=tmp_path)
            line = runs.fails(started, tmp_path)
            assert str(root) in line, (name, line)
            assert re.search(r"No space left.*MB are free|MB are free.*No space left", line), line
            assert "--ckpt_path last" in line
            for path in root.glob("run/*/checkpoints/[!.]*.ckpt"):
                assert not problem_of(path), (name, path)
            (disk / "filler").unlink()
        runs.finish(runs.start(root, kind, logs=tmp_path), tmp_path)
        runs.check_equal(root, uninterrupted(kind))


def copy_of(root: Path, folder: Path) -> str:
    """Copies the folder of a run without faults."""
    return str(shutil.copytree(runs.folder_of(root), folder, symlinks=True))


COMMANDS = {  # the file that meets the full disk, the kind of run, and the command
    "comparison.csv": ("classifier", "compare"),
    "grid.png": ("GAN", "sample", "--count=4"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_stops_a_command(
    name: str, tmp_path: Path, disk: Path, uninterrupted: Uninterrupted
) -> None:
    kind, command, *options = COMMANDS[name]
    run = copy_of(uninterrupted(kind), disk / "run")
    where = [run, f"--out={disk}"] if command == "compare" else []
    args = [command, run, *where, *options]
    fault = partial(full_at, disk, name.replace(".", ".partial."))
    line = runs.fails(runs.command(tmp_path, *args, fault=fault), tmp_path)
    assert name in line
    assert "No space left" in line
    assert not [*disk.rglob("*.partial*")]


@pytest.mark.parametrize("full", [True, False])
def test_a_run_reads_images_on_a_disk_that_takes_no_cache(
    full: bool, tmp_path: Path, disk: Path
) -> None:
    for name in ("a", "b"):
        (disk / "data" / name).mkdir(parents=True)
        for i in range(10):
            pixels = np.random.default_rng(i).integers(0, 255, (16, 16), dtype=np.uint8)
            Image.fromarray(pixels).save(disk / "data" / name / f"{i}.png")
    args = [
        "fit", *runs.MODELS["classifier"], "--data=ImageFolder", f"--data.path={disk / 'data'}",
        "--data.size=16", "--data.channels=1", "--data.batch_size=4",
        f"--trainer.default_root_dir={tmp_path / 'runs'}", "--trainer.max_steps=2",
        "--trainer.accelerator=cpu", "--experiment=run",
    ]  # fmt: skip
    if full:
        fill(disk)
        runs.finish(runs.command(tmp_path, *args), tmp_path)
    else:
        with read_only(disk):
            runs.finish(runs.command(tmp_path, *args), tmp_path)


def test_a_read_only_disk_is_one_line(
    tmp_path: Path, disk: Path, uninterrupted: Uninterrupted
) -> None:
    run = copy_of(uninterrupted("GAN"), disk / "run" / "version_0")
    cpu = "--trainer.accelerator=cpu"
    new = ["fit", *runs.MODELS["GAN"], *runs.SMALL, *runs.DIGITS]
    new += [f"--trainer.default_root_dir={disk}"]
    with read_only(disk):
        for args in (new, ["fit", f"--ckpt_path={run}", cpu], ["sample", run]):
            line = runs.fails(runs.command(tmp_path, *args), tmp_path, code=2)
            assert str(disk) in line, line
            assert "Read-only file system" in line, line
        out = ["sample", run, f"--out={tmp_path / 'out'}", "--count=4"]
        runs.finish(runs.command(tmp_path, *out), tmp_path)
        assert (tmp_path / "out" / "grid.png").exists()
        test = ["test", run, "--quality.final_samples=64", cpu]
        assert f"{run} is read-only" in runs.finish(runs.command(tmp_path, *test), tmp_path)

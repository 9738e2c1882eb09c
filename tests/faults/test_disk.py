"""A disk that is full, read-only or refuses is one line, and a resumed run has the same bits."""

import builtins
import errno
import io
import itertools
import os
import re
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from callbacks import samples
from datamodules.sources import FILES as MNIST
from runtime import checkpoints
from runtime.checkpoints import newest, problem_of, saved_step
from tests.datamodules.pictures import write_classes
from tests.faults import runs
from tests.faults.runs import Fault, at_batch, before, on_write, raising, rounds


def mount(*args: str) -> bool:
    return not subprocess.run(["mount", *args], capture_output=True).returncode


@pytest.fixture
def disk(tmp_path, request):
    """A small file system in memory, of 64 MB or with another limit."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mount("-t", "tmpfs", "-o", getattr(request, "param", "size=64m"), "tmpfs", str(folder)):
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


def fill_with_files(disk: Path) -> None:
    """Creates files until the disk takes no more."""
    with suppress(OSError):
        for number in itertools.count():
            (disk / f"filler_{number}").touch()


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


def refused(root: Path, kind: str, fault: Fault, logs: Path) -> str:
    """Trains until a fault ends the run with one line, and returns it. Checkpoints stay whole."""
    line = runs.fails(runs.start(root, kind, fault=fault, logs=logs), logs)
    for path in root.glob("run/*/checkpoints/[!.]*.ckpt"):
        assert not problem_of(path), (line, path)
    return line


def continues(root: Path, kind: str, logs: Path, whole: Path, spare: int = 0) -> None:
    """Continues a run to its end, which is that of the whole run."""
    runs.finish(runs.start(root, kind, logs=logs), logs)
    runs.check_equal(root, whole, spare)


@pytest.mark.parametrize("kind", FILES)
def test_a_full_disk_stops_a_run_and_loses_nothing(kind, tmp_path, disk, uninterrupted):
    """One run meets a full disk at each kind of file in turn."""
    for n in range(1, 1 + rounds(full=4, short=1)):
        root = disk / str(n)
        for fault in FILES[kind].values():
            line = refused(root, kind, partial(fault, disk, n), tmp_path)
            assert str(root) in line, line
            assert re.search(r"No space left.*MB are free|MB are free.*No space left", line), line
            assert "--ckpt_path last" in line
            (disk / "filler").unlink()
        continues(root, kind, tmp_path, uninterrupted(kind))


@pytest.mark.parametrize("disk", ["nr_inodes=200"], indirect=True)
def test_a_disk_that_takes_no_more_files(disk, tmp_path, uninterrupted):
    for n in range(1, 1 + rounds(full=3, short=1)):
        root, fault = disk / str(n), partial(at_batch, 4 * n - 1, partial(fill_with_files, disk))
        line = refused(root, "classifier", fault, tmp_path)
        assert re.search(r"/run/.*No space left.*MB are free.*, and too many files", line), line
        for path in disk.glob("filler_*"):
            path.unlink()
        continues(root, "classifier", tmp_path, uninterrupted("classifier"), spare=1)
        shutil.rmtree(root)


def copy_of(root: Path, folder: Path) -> str:
    """Copies the folder of a run without faults."""
    return str(shutil.copytree(runs.folder_of(root), folder, symlinks=True))


COMMANDS = {  # the file that meets the full disk, the kind of run, and the command
    "comparison.csv": ("classifier", "compare"),
    "grid.png": ("GAN", "sample", "--count=4"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_stops_a_command(name, tmp_path, disk, uninterrupted):
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
def test_a_run_reads_images_on_a_disk_that_takes_no_cache(full, tmp_path, disk):
    photos = write_classes(disk / "data")
    args = [
        "fit", *runs.MODELS["classifier"], "--data=ImageFolder", f"--data.path={photos}",
        "--data.size=16", "--data.channels=1", "--data.batch_size=4",
        f"--trainer.default_root_dir={tmp_path / 'runs'}", "--trainer.max_steps=2",
        "--trainer.accelerator=cpu", "--experiment=run",
    ]  # fmt: skip
    with nullcontext(fill(disk)) if full else read_only(disk):
        runs.finish(runs.command(tmp_path, *args), tmp_path)


def test_a_read_only_disk_is_one_line(tmp_path, disk, uninterrupted):
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


# -- an error of the disk in the middle -----------------------------------------------------------

WRITING = ("mkdir", "replace", "rename", "symlink", "unlink", "open")


def write_fails(name: str, code: int, count: int) -> None:
    """Refuses what is written to the n-th file whose path contains `name`."""

    def refuse(stream: Any) -> None:
        stream.write = raising(code)

    on_write(name, refuse, count)


def read_fails(name: str, code: int, checked: bool = False) -> None:
    """Refuses what is read from files whose path contains `name`, perhaps after their check."""
    real = builtins.open

    def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        stream = real(file, mode, *args, **kwargs)
        if not isinstance(file, int) and name in str(file) and mode in ("r", "rb"):
            stream.read = stream.readinto = stream.readline = raising(code)
        return stream

    builtins.open = io.open = opened
    if not checked:
        checkpoints._sound.clear()  # of the process that this one was forked from


def all_fails(root: Path, code: int) -> None:
    """Refuses all calls for paths below a folder; those that only read, if it is not read-only."""

    def guarded(real: Any) -> Any:
        def called(path: Any, *args: Any, **kwargs: Any) -> Any:
            reads = code == errno.EROFS and args[:1] in ((), ("r",), ("rb",), (os.O_RDONLY,))
            if not isinstance(path, int) and str(root) in str(path) and not reads:
                raising(code, str(path))()
            return real(path, *args, **kwargs)

        return called

    for name in WRITING if code == errno.EROFS else (*WRITING, "stat", "lstat", "scandir"):
        setattr(os, name, guarded(getattr(os, name)))
    builtins.open = io.open = guarded(io.open)


def no_descriptors() -> None:
    """Lets this process open no more files."""
    lowest = os.dup(1)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, lowest))


def midway(act: Callable[[Path], None], root: Path, n: int) -> None:
    """Acts after a batch behind the first checkpoint."""
    at_batch(5 + n, partial(act, root))


REFUSALS: dict[str, Callable[[Path, int], None]] = {  # of the n-th such call, below a folder
    "a write to config.yaml": lambda root, n: write_fails("config.partial", errno.EIO, 1),
    "a write to metrics.csv": lambda root, n: write_fails("metrics.csv", errno.EDQUOT, 3 * n),
    "a write to a checkpoint": lambda root, n: write_fails(".partial.ckpt", errno.EIO, n),
    "the quota at a checkpoint": lambda root, n: write_fails(".partial.ckpt", errno.EDQUOT, n),
    "a write to TensorBoard's file": lambda root, n: write_fails("events.", errno.EIO, 1),
    "a flush": partial(midway, lambda root: setattr(os, "fsync", raising(errno.EIO))),
    "no descriptors": partial(midway, lambda root: no_descriptors()),
    "read-only": partial(midway, lambda root: all_fails(root, errno.EROFS)),
    "stale": partial(midway, lambda root: all_fails(root, errno.ESTALE)),
    "a read of metrics.csv": lambda root, n: read_fails("metrics.csv", errno.EIO),
    "a read of checkpoints": lambda root, n: read_fails(".ckpt", errno.EIO),
    "a read after the check": lambda root, n: read_fails(".ckpt", errno.EIO, checked=True),
    "a stale checkpoint": lambda root, n: read_fails(".ckpt", errno.ESTALE),
    "a write to metrics.json": lambda root, n: write_fails("metrics.partial", errno.EDQUOT, 1),
}


def check_line(line: str, root: Path | str = "") -> None:
    """Checks that a line says what was refused, and where."""
    assert re.search(r": (Input/output error|Disk quota|Too many open|Read-only|Stale file)", line)
    assert str(root) in line, line


@pytest.mark.parametrize(("kind", "part"), [("classifier", 3), ("GAN", 5)])
def test_what_the_disk_refuses_is_one_line_and_the_run_continues(
    kind, part, tmp_path, uninterrupted
):
    """One run meets each refusal in turn, in the short form every third or fifth."""
    root = tmp_path / "root"
    for name, refusal in [*REFUSALS.items()][:: rounds(full=1, short=part)]:
        if kind == "GAN" and name.endswith("metrics.json"):
            continue  # it has none
        before = saved(root)
        line = refused(root, kind, partial(refusal, root, 1), tmp_path)
        print(f"{name}: {line}")
        check_line(line, "" if name == "no descriptors" else root)
        assert saved(root) >= before
    continues(root, kind, tmp_path, uninterrupted(kind), spare=1)


def saved(root: Path) -> int:
    """Returns the step of a run's newest checkpoint."""
    return saved_step(newest(root)) or 0 if root.exists() else 0


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE])
def test_a_run_whose_config_cannot_be_read(code, tmp_path, uninterrupted):
    run = runs.folder_of(uninterrupted("classifier"))
    args = ["test", str(run), "--trainer.accelerator=cpu"]
    fault = partial(read_fails, "config.yaml", code)
    check_line(runs.fails(runs.command(tmp_path, *args, fault=fault), tmp_path), run)


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE])
def test_data_that_cannot_be_read(code, tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in MNIST:
        (raw / name).touch()
    args = ["fit", *runs.MODELS["classifier"], *runs.SMALL, "--data=Images", "--data.dataset=mnist"]
    args += [f"--data.data_dir={tmp_path}", f"--trainer.default_root_dir={tmp_path}"]
    fault = partial(read_fails, MNIST[0], code)
    check_line(runs.fails(runs.command(tmp_path, *args, fault=fault), tmp_path), raw / MNIST[0])

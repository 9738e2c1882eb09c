"""An error of the disk in the middle is one line that names the file, and the run goes on."""

import builtins
import errno
import io
import itertools
import os
import re
import resource
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from datamodules.sources import FILES
from runtime import checkpoints
from runtime.checkpoints import newest, problem_of, step_of
from tests.faults import runs
from tests.faults.runs import at_batch, on_write, rounds
from tests.faults.test_disk import mount

Refusal = Callable[[Path, int], None]  # of the n-th such call, below a folder
NAMES = ("stat", "lstat", "mkdir", "replace", "rename", "symlink", "unlink", "open", "scandir")


def raising(code: int, *names: object) -> Callable[..., Any]:
    def refuse(*_: object, **__: object) -> Any:
        raise OSError(code, os.strerror(code), *names)

    return refuse


def write_fails(name: str, code: int, count: int) -> None:
    """Refuses what is written to the n-th file whose path contains `name`."""

    def refuse(stream: Any) -> None:
        stream.write = raising(code)

    on_write(name, refuse, count)


def flush_fails(code: int) -> None:
    """Refuses all flushes, as a disk that takes data and cannot keep them."""
    os.fsync = raising(code)


def read_fails(name: str, code: int, checked: bool = False) -> None:
    """Refuses what is read from files whose path contains `name`, perhaps after their check."""
    real = builtins.open

    def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        stream = real(file, mode, *args, **kwargs)
        if not isinstance(file, int) and name in str(file) and mode in ("r", "rb"):
            stream.read = stream.readinto = stream.readline = raising(code)
        return stream

    builtins.open = io.open = opened  # type: ignore[assignment]
    if not checked:
        checkpoints._sound.clear()  # of the process that this one was forked from


def all_fails(root: Path, code: int, names: tuple[str, ...] = NAMES) -> None:
    """Refuses all calls for paths below a folder."""

    def guarded(real: Any) -> Any:
        def called(path: Any, *args: Any, **kwargs: Any) -> Any:
            reads = code == errno.EROFS and args[:1] in ((), ("r",), ("rb",), (os.O_RDONLY,))
            if not isinstance(path, int) and str(root) in str(path) and not reads:
                raising(code, str(path))()
            return real(path, *args, **kwargs)

        return called

    for name in names:
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


WRITING = tuple(name for name in NAMES if name not in ("stat", "lstat", "scandir"))
REFUSALS: dict[str, Refusal] = {
    "a write to config.yaml": lambda root, n: write_fails("config.partial", errno.EIO, 1),
    "a write to metrics.csv": lambda root, n: write_fails("metrics.csv", errno.EDQUOT, 3 * n),
    "a write to a checkpoint": lambda root, n: write_fails(".partial.ckpt", errno.EIO, n),
    "the quota at a checkpoint": lambda root, n: write_fails(".partial.ckpt", errno.EDQUOT, n),
    "a write to TensorBoard's file": lambda root, n: write_fails("events.", errno.EIO, 1),
    "a flush": partial(midway, lambda root: flush_fails(errno.EIO)),
    "no descriptors": partial(midway, lambda root: no_descriptors()),
    "read-only": partial(midway, lambda root: all_fails(root, errno.EROFS, WRITING)),
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
def test_what_the_disk_refuses_is_one_line_and_the_run_goes_on(
    kind: str, part: int, tmp_path: Path, uninterrupted: Callable[..., Path]
) -> None:
    """One run meets each refusal in turn, in the short form every third or fifth."""
    root = tmp_path / "root"
    for name, refusal in [*REFUSALS.items()][:: rounds(full=1, short=part)]:
        if kind == "GAN" and name.endswith("metrics.json"):
            continue  # it has none
        before = saved(root)
        started = runs.start(root, kind, fault=partial(refusal, root, 1), logs=tmp_path)
        line = runs.fails(started, tmp_path)
        print(f"{name}: {line}")
        check_line(line, "" if name == "no descriptors" else root)
        assert saved(root) >= before
        for path in root.glob("run/*/checkpoints/[!.]*.ckpt"):
            assert not problem_of(path), (name, path)
    runs.finish(runs.start(root, kind, logs=tmp_path), tmp_path)
    runs.check_equal(root, uninterrupted(kind), spare=1)


def saved(root: Path) -> int:
    """Returns the step of a run's newest checkpoint."""
    return step_of(newest(root)) or 0 if root.exists() else 0


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE])
def test_a_run_whose_config_cannot_be_read(
    code: int, tmp_path: Path, uninterrupted: Callable[..., Path]
) -> None:
    run = runs.folder_of(uninterrupted("classifier"))
    args = ["test", str(run), "--trainer.accelerator=cpu"]
    fault = partial(read_fails, "config.yaml", code)
    check_line(runs.fails(runs.command(tmp_path, *args, fault=fault), tmp_path), run)


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE])
def test_data_that_cannot_be_read(code: int, tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in FILES:
        (raw / name).touch()
    args = ["fit", *runs.MODELS["classifier"], *runs.SMALL, "--data=Images", "--data.dataset=mnist"]
    args += [f"--data.data_dir={tmp_path}", f"--trainer.default_root_dir={tmp_path}"]
    fault = partial(read_fails, FILES[0], code)
    check_line(runs.fails(runs.command(tmp_path, *args, fault=fault), tmp_path), raw / FILES[0])


def test_a_disk_that_takes_no_more_files(
    tmp_path: Path, uninterrupted: Callable[..., Path]
) -> None:
    root = tmp_path / "disk"
    root.mkdir()
    if not mount("-t", "tmpfs", "-o", "nr_inodes=200", "tmpfs", str(root)):
        pytest.skip("no right to mount: run as root, or `unshare -rm make test-faults`")

    def fill() -> None:
        for number in itertools.count():
            try:
                (root / f"filler_{number}").touch()
            except OSError:
                return

    try:
        for n in range(1, 1 + rounds(full=3, short=1)):
            fault = partial(at_batch, 4 * n - 1, fill)
            started = runs.start(root / str(n), "classifier", fault=fault, logs=tmp_path)
            line = runs.fails(started, tmp_path)
            assert re.search(r"/run/.*No space left.*MB are free.*, and too many files", line), line
            for path in root.glob("filler_*"):
                path.unlink()
            runs.finish(runs.start(root / str(n), "classifier", logs=tmp_path), tmp_path)
            runs.check_equal(root / str(n), uninterrupted("classifier"), spare=1)
            shutil.rmtree(root / str(n))
    finally:
        subprocess.run(["umount", "-l", str(root)], check=True)

"""A small disk, which tests fill or make read-only."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

FILLER = "filler"


@contextmanager
def small_disk(folder: Path, megabytes: int = 64) -> Iterator[Path]:
    """Mounts a file system in memory on a folder; skips the test without the right to mount."""
    folder.mkdir(parents=True)
    done = _mount("-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder))
    if done.returncode:
        pytest.skip("no right to mount: run as root, or `unshare -rm make test-faults`")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def read_only(disk: Path) -> Iterator[None]:
    """Makes a mounted disk read-only in the meantime."""
    assert not _mount("-o", "remount,ro", str(disk)).returncode
    try:
        yield
    finally:
        assert not _mount("-o", "remount,rw", str(disk)).returncode


def _mount(*args: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(["mount", *args], capture_output=True)


def fill(disk: Path) -> None:
    """Writes to the disk until it is full."""
    with (disk / FILLER).open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                continue


def make_room(disk: Path) -> None:
    """Removes what filled the disk."""
    (disk / FILLER).unlink()

"""Rows of examples in a file, and the three places where the rows of a data set can live."""

import os
import shutil
import sys
import weakref
from contextlib import suppress
from pathlib import Path
from tempfile import gettempdir
from threading import Lock
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch.strategies import Strategy
from torch import Tensor

from runtime.errors import UserError
from runtime.files import create, describe_size, file_errors, partial_name

Place = Literal["device", "memory", "disk"]
SHARE = 0.25  # of the free memory, which data may take
BLOCK = 2**24  # bytes to copy at a time
SHARED_MEMORY = Path("/dev/shm")  # files that are in memory; not on macOS


class OpenFile:
    """A file that stays readable until nothing refers to this, also after it has lost its name."""

    def __init__(self, path: Path) -> None:
        self.path, self._lock = path, Lock()
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        weakref.finalize(self, os.close, descriptor := os.open(path, flags))
        self._descriptor = descriptor

    def read(self, memory: memoryview, start: int) -> int:
        """Fills memory from this place in the file; returns the number of bytes."""
        if hasattr(os, "preadv"):
            return os.preadv(self._descriptor, [memory], start)
        with self._lock:  # on Windows, one thread at a time
            os.lseek(self._descriptor, start, os.SEEK_SET)
            content = os.read(self._descriptor, len(memory))
        memory[: len(content)] = content
        return len(content)


class FileRows:
    """Rows (N, ...) of uint8 in a file, read when they are asked for, also by several threads.

    `rows[index]` returns a tensor, and `take(index)` more `FileRows`, without reading.

    Args:
        file: The file.
        shape: Shape of one row.
        numbers: Numbers of these rows in the file, int64 (N,).
        facts: What is known of each row without reading it, a structured array (N,).
    """

    dtype = torch.uint8

    def __init__(
        self,
        file: OpenFile,
        shape: tuple[int, ...],
        numbers: Tensor,
        facts: np.ndarray | None = None,
    ) -> None:
        self.file, self.numbers, self.facts = file, numbers, facts
        self.shape = (len(numbers), *shape)
        self.row_bytes = int(np.prod(shape))

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return len(self) * self.row_bytes

    def take(self, index: slice | Tensor) -> "FileRows":
        """Returns the rows at `index`, a slice, int64 (M,) or bool (N,), without reading them."""
        facts = None if self.facts is None else self.facts[index]
        return FileRows(self.file, self.shape[1:], self.numbers[index], facts)

    def __getitem__(self, index: slice | Tensor) -> Tensor:
        numbers, size = self.numbers[index].tolist(), self.row_bytes
        found = torch.empty((len(numbers), *self.shape[1:]), dtype=torch.uint8)
        memory = found.numpy().reshape(-1).data
        for i, number in enumerate(numbers):
            row = memory[i * size : (i + 1) * size]
            if self.file.read(row, number * size) != size:
                raise UserError(
                    f"{self.file.path} ends before its image {number}: remove it with "
                    "`python cli.py cache --clear all`, and the images are decoded again"
                )
        return found

    def to(self, device: torch.device) -> Tensor:
        """Reads all rows onto a device."""
        return self[:].to(device)


def free_memory(device: torch.device) -> int:
    """Returns the bytes that are free: of a GPU, else of this machine or this job's limit.

    Systems that do not tell, unlike Linux, count as large enough.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = [sys.maxsize]
    with suppress(OSError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")]
    with suppress(OSError):  # SLURM, containers and systemd limit a group of processes
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, kind, name = line.split(":", 2)
            if kind in ("", "memory"):
                free += _limits(Path("/sys/fs/cgroup", kind), name.strip("/"))
    return min(free)


def _limits(root: Path, name: str) -> list[int]:
    """Returns the bytes that a control group and those around it leave, in both versions."""
    free, group = [], root / name
    for folder in (group, *group.parents):
        for limit, used, prefix in (
            ("memory.max", "memory.current", ""),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
        ):
            with suppress(OSError, ValueError, KeyError):  # "max" is no limit
                texts = (folder / limit).read_text(), (folder / used).read_text()
                stat = dict(line.split() for line in (folder / "memory.stat").open())
                # The system gives up files that it keeps in memory when a process needs it.
                cached = sum(int(stat[f"{prefix}{kind}active_file"]) for kind in ("", "in"))
                free.append(int(texts[0]) - int(texts[1]) + cached)
    return free


def cache_folder() -> Path:
    """Returns `LADDER_CACHE`, or this project's folder in the user's cache folder."""
    own = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("LADDER_CACHE") or Path(own, "ladder")).expanduser()


def shared_folder() -> Path:
    """Returns a folder whose files are in memory, or that for temporary files if there is none."""
    return SHARED_MEMORY if SHARED_MEMORY.is_dir() else Path(gettempdir())


def choose_place(nbytes: int, device: torch.device, processes: int) -> Place:
    """Returns the fastest place with enough room.

    Args:
        nbytes: Bytes of all splits.
        device: The training device.
        processes: Number of this node's processes.
    """
    sharing = processes if device.type == "cpu" else 1
    if nbytes * sharing <= SHARE * free_memory(device):
        return "device"
    room = min(free_memory(torch.device("cpu")), shutil.disk_usage(shared_folder()).free)
    return "memory" if nbytes <= SHARE * room else "disk"


def put(
    rows: Any, place: Place, device: torch.device, strategy: Strategy | None, local_rank: int
) -> Any:
    """Puts rows, a tensor or `FileRows`, at a place. Every process of the run must call it.

    Args:
        rows: The rows (N, ...); for another place than the device they are uint8.
        place: Where they shall be.
        device: The training device.
        strategy: Connects the processes; None: there is one.
        local_rank: Number of this process on its node.
    """
    if place == "device":
        return rows.to(device)
    if place == "disk" and isinstance(rows, FileRows):
        return rows
    folder = shared_folder() if place == "memory" else cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    name = partial_name(folder / "rows").name
    path = folder / (strategy.broadcast(name) if strategy else name)
    try:
        if local_rank == 0:
            _copy(rows, path)
        if strategy:
            strategy.barrier()
        file = OpenFile(path)
        if strategy:
            strategy.barrier()
    finally:  # The file ends with the last process that has opened it, however that ends.
        if local_rank == 0:
            path.unlink(missing_ok=True)
    return FileRows(file, tuple(rows.shape[1:]), torch.arange(len(rows)))


def _copy(rows: Tensor | FileRows, path: Path) -> None:
    try:
        with file_errors(path):
            create(path)
            with path.open("r+b") as file:
                for block in torch.arange(len(rows)).split(max(1, BLOCK // rows[:1].nbytes)):
                    file.write(rows[block].contiguous().numpy().reshape(-1).data)
    except OSError as error:
        raise UserError(
            f"{path.parent} has no room for {describe_size(rows.nbytes)} of images "
            f"({error.strerror}): set --data.keep disk, make room, or in a container raise its "
            "shared memory (docker run --shm-size)"
        ) from None

"""Resources that must not grow during a long run: memory, files, threads, time, disk space."""

import csv
import ctypes
import gc
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean, median

from lightning import Callback, LightningModule, Trainer
from scipy.stats import theilslopes

from figures.pictures import tensorboard

SPAN = 10_000  # steps for which growth is stated
LIMITS = {  # the largest growth within SPAN, as a share of the mean
    "memory_mb": 0.01,
    "objects": 0.01,
    "files": 0.01,
    "threads": 0.01,
    "step_cpu_ms": 0.05,
    "mean_cpu_ms": 0.05,
    "row_bytes": 0.05,  # later steps have more digits
    "event_bytes": 0.05,
    "checkpoint_mb": 0.01,
}


@dataclass
class Window:
    """Resources that a process used during some steps, and held at their end."""

    step: int
    seconds: float  # since the start of training
    step_ms: float  # median
    step_cpu_ms: float  # median, of all threads, so that other processes matter less
    mean_cpu_ms: float  # with validation, checkpoints and figures, per step
    rss_mb: float  # resident memory, as it is
    memory_mb: float  # memory in use, after a collection of garbage
    objects: int  # of Python, after the collection
    files: int  # open file descriptors
    threads: int
    row_bytes: float  # metrics.csv: mean size of a row
    event_bytes: float  # TensorBoard's file: mean growth per step since the start
    checkpoint_mb: float  # size of the newest checkpoint
    checkpoints: int


class Watch(Callback):
    """Measures the process every few steps and appends the `Window` to a CSV file.

    Args:
        file: The CSV file.
        every: Steps between measurements.
    """

    def __init__(self, file: str, every: int = 500) -> None:
        self.file, self.every = Path(file), every
        self.walls: list[float] = []
        self.cpus: list[float] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.file.write_text(",".join(field.name for field in fields(Window)) + "\n")
        self.began = time.perf_counter()
        self._mark()
        self.window = self.mark[1]

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        wall, cpu = self.mark
        self._mark()
        self.walls.append(self.mark[0] - wall)
        self.cpus.append(self.mark[1] - cpu)
        if trainer.global_step % self.every == 0:
            window = self._measure(trainer)
            with self.file.open("a") as file:
                file.write(",".join(map(str, asdict(window).values())) + "\n")
            self._mark()
            self.window = self.mark[1]

    def _mark(self) -> None:
        self.mark = time.perf_counter(), time.process_time()

    def _measure(self, trainer: Trainer) -> Window:
        step_ms, step_cpu_ms = (1e3 * median(times) for times in (self.walls, self.cpus))
        mean_cpu_ms = 1e3 * (self.mark[1] - self.window) / len(self.cpus)
        self.walls.clear()
        self.cpus.clear()
        rss = status_mb("VmRSS")
        gc.collect()
        if writer := tensorboard(trainer):
            writer.flush()
        folder = Path(trainer.log_dir or "")
        rows = [row for file in folder.glob("metrics.csv") for row in file.open("rb")][1:]
        events = sum(path.stat().st_size for path in folder.glob("events.*"))
        files = [path for path in folder.glob("checkpoints/*.ckpt") if not path.is_symlink()]
        newest = max(files, key=lambda path: path.stat().st_mtime, default=None)
        return Window(
            step=trainer.global_step,
            seconds=round(time.perf_counter() - self.began, 3),
            step_ms=round(step_ms, 4),
            step_cpu_ms=round(step_cpu_ms, 4),
            mean_cpu_ms=round(mean_cpu_ms, 4),
            rss_mb=rss,
            memory_mb=in_use_mb(),
            objects=len(gc.get_objects()),
            files=len(os.listdir("/proc/self/fd")),
            threads=len(os.listdir("/proc/self/task")),
            row_bytes=round(fmean(map(len, rows)), 3) if rows else 0,
            event_bytes=round(events / trainer.global_step, 3),
            checkpoint_mb=newest.stat().st_size / 1e6 if newest else 0,
            checkpoints=len(files),
        )


def status_mb(*kinds: str) -> float:
    """Returns this process's memory of some kinds of /proc/self/status, in 10^6 bytes."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return sum(int(words[1]) * 1024 / 1e6 for words in lines if words[0].rstrip(":") in kinds)


def in_use_mb() -> float:
    """Returns the memory that this process's objects take, in 10^6 bytes; Linux with glibc only.

    Freed memory goes back to the system first: a process keeps some of it, hundreds of MB after
    data were read, and gives it back at any time. Pages of files do not count: the system drops
    them and reads them again as it likes. Either would hide a leak.
    """
    ctypes.CDLL(None).malloc_trim(0)
    return status_mb("RssAnon", "RssShmem", "VmSwap")


def read(file: Path) -> list[Window]:
    """Reads the windows that `Watch` wrote."""
    kinds = {field.name: field.type for field in fields(Window)}
    with file.open(newline="") as lines:
        return [
            Window(**{name: kinds[name](value) for name, value in row.items()})  # type: ignore
            for row in csv.DictReader(lines)
        ]


def growth(windows: Sequence[Window], name: str) -> float:
    """Returns the growth within `SPAN` steps as a share of the mean, in the second half of a run.

    The line is Theil and Sen's, the median slope of all pairs, which ignores single outliers.
    """
    half = windows[len(windows) // 2 :]
    values = [getattr(window, name) for window in half]
    if not (mean := fmean(values)):
        return 0.0
    return SPAN * float(theilslopes(values, [window.step for window in half])[0]) / mean


def growing(windows: Sequence[Window]) -> dict[str, float]:
    """Returns what grew by more than its limit."""
    found = {name: growth(windows, name) for name in LIMITS}
    return {name: value for name, value in found.items() if value > LIMITS[name]}

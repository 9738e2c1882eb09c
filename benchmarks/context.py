"""What every section of the benchmark is given."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.timing import interleave
from benchmarks.worker import ROOT, Worker
from datamodules.sources import find_files


@dataclass
class Context:
    """How to measure, on what data, and what earlier sections of this run found."""

    rounds: int
    data_dir: Path  # holds MNIST/raw: real, or noise of its shape
    real_mnist: bool
    scratch: Path  # a temporary folder, for runs and logs
    keras_python: Path = ROOT / ".venv-bench/bin/python"
    seconds: dict[str, list[float]] = field(default_factory=dict)  # a step's, one a round
    versions: dict[str, str] = field(default_factory=dict)

    def ladder(self, mode: str, config: str, *args: str) -> list[str]:
        """The command of a worker that trains `configs/<config>.yaml`, `fit` or `bare`."""
        command = [sys.executable, "-m", "benchmarks.ladder_worker", mode, str(self.scratch)]
        return [*command, "--config", f"configs/{config}.yaml", *args]

    def on_images(self, mode: str, config: str, *args: str) -> list[str]:
        """Likewise, of a config that trains on MNIST."""
        return self.ladder(mode, config, "--data.data_dir", str(self.data_dir), *args)

    @contextmanager
    def workers(self, commands: dict[str, Sequence[str]]) -> Iterator[dict[str, Worker]]:
        """Starts contenders one after the other, warms each up, and ends them all."""
        started: dict[str, Worker] = {}
        try:
            for name, command in commands.items():
                started[name] = Worker(name, command, self.scratch)
                started[name].run(1)  # what is compiled, traced or allocated once
            yield started
        finally:
            for worker in started.values():
                worker.close()

    def race(self, commands: dict[str, Sequence[str]], steps: dict[str, int] | int) -> None:
        """Seconds a step of each contender, round by round, into `seconds`."""
        with self.workers(commands) as workers:
            contenders = {
                name: partial(worker.run, steps if isinstance(steps, int) else steps[name])
                for name, worker in workers.items()
            }
            self.seconds |= interleave(contenders, self.rounds)
            for worker in workers.values():
                self.versions |= worker.hello


def find_mnist(data_dir: Path, scratch: Path) -> tuple[Path, bool]:
    """The folder with MNIST, and whether it is real; else one with noise of the same shape."""
    if find_files("mnist", str(data_dir))[0]:
        return data_dir, True
    write_noise(scratch / "noise", {"train": 60_000, "t10k": 10_000})
    return scratch / "noise", False


def write_noise(folder: Path, counts: dict[str, int]) -> None:
    """IDX files as MNIST's, of random images and labels."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, count in counts.items():
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for kind, values in ((f"{part}-images-idx3", images), (f"{part}-labels-idx1", labels)):
            header = np.array([0x800 + values.ndim, *values.shape], dtype=">i4")
            (raw / f"{kind}-ubyte").write_bytes(header.tobytes() + values.tobytes())

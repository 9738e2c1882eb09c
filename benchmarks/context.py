"""Settings and results that all sections of the benchmark share."""

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.timing import interleave
from benchmarks.worker import ROOT, Worker
from datamodules.sources import IMAGE_SHAPE, find_files

ENDLESS = ("--trainer.max_epochs", "100000", "--trainer.limit_val_batches", "0")


@dataclass
class Context:
    """Settings of the measurements, their data, and the results of earlier sections of this run."""

    rounds: int
    data_dir: Path  # contains MNIST/raw, real or noise of its shape
    real_mnist: bool
    scratch: Path  # a temporary folder for runs and logs
    keras_python: Path = ROOT / ".venv-bench/bin/python"
    seconds: dict[str, list[float]] = field(default_factory=dict)  # per step, one value a round
    starts: dict[str, float] = field(default_factory=dict)  # seconds from process start to step 1
    peak_mb: dict[str, float] = field(default_factory=dict)  # memory of each contender's process
    versions: dict[str, str] = field(default_factory=dict)

    def command(self, callback: str | None, config: str, *args: str) -> list[str]:
        """Returns the command line of a run of `configs/<config>.yaml` under `pacing.<callback>`.

        `Fit` and `Bare` train until the parent closes the line. Without a callback it is the run
        that a user starts.
        """
        command = [sys.executable, "cli.py", "fit", "--config", f"configs/{config}.yaml", *args]
        if "iris" not in config:
            command += ["--data.data_dir", str(self.data_dir)]
        command += ENDLESS if callback in ("Fit", "Bare") else ()
        command += ["--trainer.default_root_dir", str(self.scratch)]
        if callback is None:
            return command
        path = json.dumps({"class_path": f"benchmarks.pacing.{callback}"})
        return [*command, "--trainer.callbacks+", path]

    @property
    def has_keras(self) -> bool:
        return self.keras_python.exists()

    @property
    def no_keras(self) -> str:
        """Says why Keras' column is empty."""
        return f"Keras: not run, {self.keras_python} is missing (`make bench`)."

    @contextmanager
    def workers(self, commands: Mapping[str, Sequence[str]]) -> Iterator[dict[str, Worker]]:
        """Starts contenders one after the other, warms each up, and ends them all."""
        started: dict[str, Worker] = {}
        try:
            for name, command in commands.items():
                began = time.perf_counter()
                started[name] = Worker(name, command, self.scratch)
                started[name].run(1)  # Compiles, traces and allocates what is needed once.
                self.starts[name] = time.perf_counter() - began
            yield started
        finally:
            for worker in started.values():
                worker.close()

    def race(self, commands: Mapping[str, Sequence[str]], steps: int) -> None:
        """Measures seconds per step, round by round, and memory into `seconds` and `peak_mb`."""
        with self.workers(commands) as workers:
            contenders = {name: partial(worker.run_warm, steps) for name, worker in workers.items()}
            self.seconds |= interleave(contenders, self.rounds)
            for name, worker in workers.items():
                self.versions |= worker.hello
                self.peak_mb[name] = worker.peak_mb


def find_mnist(data_dir: Path, scratch: Path) -> tuple[Path, bool]:
    """Returns a folder with MNIST and True, or one with noise of the same shape and False."""
    if find_files("mnist", str(data_dir))[0]:
        return data_dir, True
    write_noise(scratch / "noise", {"train": 60_000, "t10k": 10_000})
    return scratch / "noise", False


def write_noise(folder: Path, counts: dict[str, int]) -> None:
    """Writes IDX files like MNIST's, of random images and labels."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, count in counts.items():
        images = rng.integers(0, 256, (count, *IMAGE_SHAPE[1:]), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for kind, values in ((f"{part}-images-idx3", images), (f"{part}-labels-idx1", labels)):
            header = np.array([0x800 + values.ndim, *values.shape], dtype=">i4")
            (raw / f"{kind}-ubyte").write_bytes(header.tobytes() + values.tobytes())

"""Trains the small models of `demo`, on the digits that scikit-learn contains."""

import os
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from commands.sweep_runs import environment, fit_command, last_error

DIGITS = ("--data=Images", "--data.dataset=digits", "--data.batch_size=64")
QUIET = ("--samples.min_steps=100000", "--quality.samples=0")  # no figures and scores on the way
RECIPES = {  # 20 and 40 seconds on one core of an x86-64 CPU
    "demo-classifier": (
        "--model=ImageClassifier", "--model.network=ResidualConvNet", "--model.network.width=16",
        "--model.shift=2", "--model.rotation=10", "--model.zoom=0.1", "--model.shear=0.15",
        "--model.average.decay=0.98",
        "--model.schedule.shape=cosine", "--model.schedule.warmup=0.2",
        "--model.optimizer=AdamW", "--model.optimizer.lr=0.004", "--trainer.max_epochs=12",
    ),
    "demo-cgan": (
        "--model=ConditionalGAN", "--model.latent_dim=32", "--model.average.decay=0.99",
        "--model.generator.width=24", "--model.trunk.width=24", "--model.penalties.r1=1.0",
        "--model.head=ProjectionHead", "--model.head.class_weight=0.1",
        *(
            f"--model.{part}_optimizer{option}"
            for part in ("generator", "discriminator")
            for option in ("=Adam", ".lr=0.001", ".betas=[0.0, 0.99]", ".fused=true")
        ),
        "--trainer.max_steps=500",
    ),
}  # fmt: skip
NAMES = {"demo-classifier": "classifier of images", "demo-cgan": "GAN"}
PAUSE = 0.3  # seconds between two looks at the process
STEP = re.compile(r"Step (\d+) of (\d+)")


Recipes = Mapping[str, Sequence[str]]  # options of `fit`, by the name of the experiment


class State(NamedTuple):
    """Progress of the training."""

    share: float
    line: str


class Training:
    """Trains models one after the other, each in its own process.

    A thread looks after the processes, so that training goes on if a page is closed or reloaded.
    """

    def __init__(self, runs: Path) -> None:
        self.runs, self.state = runs, State(0.0, "")
        self._lock, self._stopped = threading.Lock(), False
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def follow(self, recipes: Recipes) -> Iterator[State]:
        """Starts to train, unless this goes on already, and yields states until the end.

        The last one says why a model could not be trained, if so.
        """
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._train, args=(recipes,), daemon=True)
                self._thread.start()
            thread = self._thread
        while thread.is_alive():
            yield self.state
            time.sleep(PAUSE)
        yield self.state

    def stop(self) -> None:
        """Ends the process, if one trains, and starts no other."""
        with self._lock:
            self._stopped = True
            if self._process is not None and self._process.poll() is None:
                self._process.terminate()
                self._process.wait()

    def _train(self, recipes: Recipes) -> None:
        started = time.monotonic()
        for place, (name, options) in enumerate(recipes.items()):
            with tempfile.TemporaryFile() as log:
                if not (process := self._start(name, options, log)):
                    return
                while process.poll() is None:
                    done, text = progress(_read(log))
                    line = f"Training a {NAMES.get(name, name)}: {text}"
                    share = (place + done) / len(recipes)
                    self.state = State(share, f"{line}{time.monotonic() - started:.0f} s")
                    time.sleep(PAUSE)
                if process.returncode:
                    self.state = State(0.0, f"Training failed: {last_error(_read(log))}")
                    return
        self.state = State(1.0, "Trained.")

    def _start(
        self, name: str, options: Sequence[str], log: IO[bytes]
    ) -> "subprocess.Popen[bytes] | None":
        folder = (f"--trainer.default_root_dir={self.runs}", f"--experiment={name}")
        command = fit_command(*options, *DIGITS, *QUIET, *folder)
        with self._lock:
            if not self._stopped:
                self._process = subprocess.Popen(
                    command, env=environment(1), stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            return None if self._stopped else self._process


def _read(log: IO[bytes]) -> str:
    """Reads the whole output so far. The child writes at its own place in the same file."""
    size = os.fstat(log.fileno()).st_size
    return os.pread(log.fileno(), size, 0).decode(errors="replace")


def progress(output: str) -> tuple[float, str]:
    """Returns the share of steps that are done, and the text for it, from what `fit` prints."""
    found = STEP.findall(output)
    if not found:
        return 0.0, ""
    step, steps = map(int, found[-1])
    return step / steps, f"step {step:,} of {steps:,}, "

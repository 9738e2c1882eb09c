"""Trains the small models of `demo`, on the digits that scikit-learn contains."""

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from commands.sweep_runs import environment, fit_command, last_error

DIGITS = ("--data=Images", "--data.dataset=digits", "--data.batch_size=64")
QUIET = ("--samples.min_steps=100000", "--quality.samples=0")  # no figures and scores on the way
RECIPES = {  # seconds on one core of an x86-64 CPU: 10 and 30
    "demo-classifier": (
        "--model=ImageClassifier", "--model.network=ResidualConvNet", "--model.network.width=16",
        "--model.shift=2", "--model.rotation=10", "--model.zoom=0.1", "--model.shear=0.15",
        "--model.ema_decay=0.98", "--model.schedule=cosine", "--model.warmup=0.2",
        "--model.optimizer=AdamW", "--model.optimizer.lr=0.004", "--trainer.max_epochs=12",
    ),
    "demo-cgan": (
        "--model=ConditionalGAN", "--model.latent_dim=32", "--model.ema_decay=0.99",
        "--model.generator.width=24", "--model.trunk.width=24", "--model.r1_gamma=1.0",
        "--model.head=ProjectionHead", "--model.head.class_weight=0.1",
        *(
            f"--model.{part}_optimizer{option}"
            for part in ("generator", "discriminator")
            for option in ("=Adam", ".lr=0.001", ".betas=[0.0, 0.99]", ".fused=true")
        ),
        "--trainer.max_steps=500",
    ),
}  # fmt: skip
NAMES = {"demo-classifier": "a classifier", "demo-cgan": "a conditional GAN"}
PAUSE = 0.3  # seconds between two looks at the process
STEP = re.compile(r"Step (\d+) of (\d+)")
Report = Callable[[float, str], object]  # gets the share that is done, and a line about it


class Training:
    """Trains the models one after the other, each in a process of its own."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        self.process: subprocess.Popen[bytes] | None = None

    def train(self, report: Report, recipes: dict[str, tuple[str, ...]] = RECIPES) -> str:
        """Trains all models and returns why one could not be trained; empty if all are."""
        started = time.monotonic()
        for place, (name, options) in enumerate(recipes.items()):
            place_of_run = (f"--trainer.default_root_dir={self.runs}", f"--experiment={name}")
            command = fit_command(*options, *DIGITS, *QUIET, *place_of_run)
            with tempfile.TemporaryFile("w+b") as log:
                self.process = subprocess.Popen(
                    command, env=environment(1), stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
                while self.process.poll() is None:
                    done, text = progress(_read(log))
                    seconds = time.monotonic() - started
                    line = f"Training {NAMES.get(name, name)}{text}, {seconds:.0f} s"
                    report((place + done) / len(recipes), line)
                    time.sleep(PAUSE)
                if self.process.returncode:
                    return last_error(_read(log))
        return ""

    def stop(self) -> None:
        """Ends the process, if one trains."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait()


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
    return step / steps, f": step {step:,} of {steps:,}"

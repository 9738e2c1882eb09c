"""Rounds of stop signals that reach the ranks of one run up to 200 ms apart.

Each round sends every rank a signal at a different moment, and one rank a second signal. The run
must save and end within seconds, and the next round resumes it. At the end the run must have the
weights of one that was never stopped, and have validated every epoch.
"""

import csv
import os
import random
import re
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.context import ForkProcess
from pathlib import Path

import torch

import cli
from runtime import signals
from runtime.preemption import TRY_AGAIN
from tests import ranks
from tests.models.gans import WIDTH_2

RUN = [
    "fit", "--config", "configs/gan.yaml", "--data.dataset=digits", "--data.batch_size=128",
    *WIDTH_2, "--trainer.precision=32-true",
    "--model.schedule.shape=constant",  # the signals decide how long the run is
    "--trainer.accelerator=cpu", "--trainer.strategy=ddp", "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false", "--trainer.limit_val_batches=1",
    "--trainer.max_epochs=100000", "--checkpoint.min_steps=0", "--samples.min_steps=1000000",
]  # fmt: skip
PATIENCE = 60.0  # seconds after which a run that was told to stop counts as hung


@dataclass
class Report:
    """The results of all rounds."""

    ranks: int
    rounds: int = 0
    hangs: int = 0
    steps: int = 0
    lost_epochs: int = 0
    equal: bool = False


def start(root: Path, count: int, *flags: str) -> list[ForkProcess]:
    """Starts the command line on so many ranks."""
    args = [*RUN, f"--trainer.devices={count}", f"--trainer.default_root_dir={root}", *flags]

    def fit() -> None:
        signals.install()
        signals.restore = lambda: None  # otherwise `main` restores the default handlers
        cli.main(args)

    return ranks.start(count, fit, root)


def in_training(root: Path, known: int, processes: list[ForkProcess]) -> None:
    """Waits until an epoch has ended since the step `known`."""
    limit = time.monotonic() + 120
    while newest_step(root) <= known:
        if time.monotonic() > limit or not all(p.is_alive() for p in processes):
            raise RuntimeError("no training: " + (root / "0.log").read_text()[-2000:])
        time.sleep(0.02)


def newest_step(root: Path) -> int:
    """Returns the step of the newest epoch's checkpoint."""
    names = " ".join(path.name for path in root.glob("gan/*/checkpoints/*"))
    return max(map(int, re.findall(r"step=(\d+)\.ckpt", names)), default=0)


def stop(processes: list[ForkProcess], chance: random.Random) -> None:
    """Signals every rank at a random moment within 200 ms."""
    moments = [(chance.uniform(0, 0.2), process) for process in processes]
    moments += [(chance.uniform(0, 0.4), chance.choice(processes))]  # one gets a second
    begin = time.monotonic()
    for moment, process in sorted(moments, key=lambda pair: pair[0]):
        time.sleep(max(0.0, begin + moment - time.monotonic()))
        assert process.pid is not None
        os.kill(process.pid, chance.choice(signals.STOP_SIGNALS))


def weights(root: Path) -> list[torch.Tensor]:
    """Returns the step of the newest checkpoint, then all its weights and buffers."""
    (last,) = root.glob("gan/*/checkpoints/last.ckpt")
    checkpoint = torch.load(last, weights_only=True)
    return [torch.tensor(checkpoint["global_step"]), *checkpoint["state_dict"].values()]


def trial(count: int, rounds: int, seed: int = 0) -> Report:
    """Interrupts one run so many times and compares it with one that was not."""
    report, chance = Report(count), random.Random(seed)
    with tempfile.TemporaryDirectory() as stopped, tempfile.TemporaryDirectory() as whole:
        root = Path(stopped)
        for _ in range(rounds):
            known = newest_step(root)
            processes = start(root, count, *(["--ckpt_path=last"] if known else []))
            in_training(root, known, processes)
            time.sleep(chance.uniform(0, 0.3))
            stop(processes, chance)
            codes = ranks.end(processes, PATIENCE)
            report.rounds += 1
            if None in codes:
                report.hangs += 1
            elif codes != [TRY_AGAIN] + [0] * (count - 1):
                raise RuntimeError(f"exit codes {codes}: {(root / '0.log').read_text()[-2000:]}")
        compare(report, root, Path(whole))
    return report


def compare(report: Report, stopped: Path, whole: Path) -> None:
    """Trains as far without a stop, and notes the differences."""
    ours = weights(stopped)
    report.steps = int(ours[0])
    codes = ranks.end(start(whole, report.ranks, f"--trainer.max_steps={report.steps}"), 600)
    assert not any(codes), (whole / "0.log").read_text()[-2000:]
    theirs = weights(whole)
    report.equal = all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    # The uninterrupted run also validates at its end, which may lie within an epoch.
    seen, expected = validated(stopped), validated(whole) - {str(report.steps)}
    report.lost_epochs = len(expected - seen)


def validated(root: Path) -> set[str]:
    """Returns the steps at which validation was logged."""
    (file,) = root.glob("gan/*/metrics.csv")
    with file.open(newline="") as lines:
        return {row["step"] for row in csv.DictReader(lines) if row.get("val/d_loss")}

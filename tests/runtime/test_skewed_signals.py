"""Stop signals that reach the ranks of one run up to 200 ms apart hang nothing and lose nothing."""

import csv
import os
import random
import re
import time
from multiprocessing.context import ForkProcess
from pathlib import Path

import pytest
import torch

import cli
from runtime import signals
from runtime.preemption import SAVED_EXIT_CODE
from tests import ranks
from tests.models.gans import WIDTH_2

RUN = [
    "fit", "--config", "configs/gan.yaml", "--data.dataset=digits", "--data.batch_size=128",
    *WIDTH_2, "--trainer.precision=32-true",
    "--model.schedule.shape=constant",  # the signals decide how long the run is
    "--trainer.accelerator=cpu", "--trainer.strategy=ddp", "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false", "--trainer.limit_val_batches=1",
    "--trainer.max_epochs=100000", "--checkpoint.min_steps=0", "--trainer.pictures=false",
]  # fmt: skip


def start(root: Path, count: int, *flags: str) -> list[ForkProcess]:
    """Starts the command line on so many ranks."""
    root.mkdir(exist_ok=True)
    args = [*RUN, f"--trainer.devices={count}", f"--trainer.default_root_dir={root}", *flags]

    def fit() -> None:
        signals.install()
        signals.restore = lambda: None  # otherwise `main` restores the default handlers
        cli.main(args)

    return ranks.start(count, fit, root)


def newest_step(root: Path) -> int:
    """Returns the step of the newest epoch's checkpoint."""
    names = " ".join(path.name for path in root.glob("gan/*/checkpoints/*"))
    return max(map(int, re.findall(r"step=(\d+)\.ckpt", names)), default=0)


def stop(processes: list[ForkProcess], chance: random.Random) -> None:
    """Signals every rank at a random moment within 200 ms, and one of them twice."""
    moments = [(chance.uniform(0, 0.2), process) for process in processes]
    moments += [(chance.uniform(0, 0.4), chance.choice(processes))]
    begin = time.monotonic()
    for moment, process in sorted(moments, key=lambda pair: pair[0]):
        time.sleep(max(0.0, begin + moment - time.monotonic()))
        os.kill(process.pid, chance.choice(signals.STOP_SIGNALS))


def validated(root: Path) -> set[int]:
    """Returns the steps at which validation was logged."""
    (file,) = root.glob("gan/*/metrics.csv")
    with file.open(newline="") as lines:
        return {int(row["step"]) for row in csv.DictReader(lines) if row.get("val/d_loss")}


@pytest.mark.slow
@pytest.mark.ddp
def test_a_run_that_is_stopped_and_resumed_equals_one_that_is_not(tmp_path, weights_hash):
    count = 2
    chance, stopped, whole = random.Random(1), tmp_path / "stopped", tmp_path / "whole"
    for _ in range(2):
        known, limit = newest_step(stopped), time.monotonic() + 120
        processes = start(stopped, count, *(["--ckpt_path=last"] if known else []))
        while newest_step(stopped) <= known:  # until an epoch has ended
            assert time.monotonic() < limit, (stopped / "0.log").read_text()[-2000:]
            time.sleep(0.02)
        time.sleep(chance.uniform(0, 0.3))
        stop(processes, chance)
        codes = ranks.end(processes, 60)
        log = (stopped / "0.log").read_text()[-2000:]
        assert codes == [SAVED_EXIT_CODE] + [0] * (count - 1), (codes, log)
    (last,) = stopped.glob("gan/*/checkpoints/last.ckpt")
    steps = torch.load(last, weights_only=True)["global_step"]
    processes = start(whole, count, f"--trainer.max_steps={steps}")
    assert not any(ranks.end(processes, 600)), (whole / "0.log").read_text()[-2000:]
    (expected,) = whole.glob("gan/*/checkpoints/last.ckpt")
    assert weights_hash(last) == weights_hash(expected)
    # The uninterrupted run also validates at its end, which may lie within an epoch.
    assert validated(whole) - {steps} <= validated(stopped)

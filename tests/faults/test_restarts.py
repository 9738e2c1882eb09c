"""torchrun starts the ranks again after one is killed or stopped, and the run ends as without it.

`python -m tests.faults.test_restarts RANKS EPOCHS SECONDS` measures how much of the time is left
for training if a rank ends every so many seconds, and compares the weights with those of a run
without a fault.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.faults import runs
from tests.faults.runs import rounds

TORCHRUN = [
    sys.executable,
    "-m",
    "torch.distributed.run",
    "--max-restarts=100",
    "--shutdown-timeout=2",
]
# torch would keep the addresses of processes that have ended.
ENVIRONMENT = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "OMP_NUM_THREADS": "1"}
EPOCHS = 60
SIGNALS = [signal.SIGSTOP, signal.SIGKILL]


def until(epochs: int) -> list[str]:
    """Options of the run, without pictures, which take longer than all its steps."""
    return [f"--trainer.max_epochs={epochs}", "--trainer.pictures=false"]


class Run:
    """A small classifier that torchrun trains, and restarts if a rank fails."""

    def __init__(self, root: Path, ranks: int, epochs: int, *more: str) -> None:
        root.mkdir()
        self.root = root
        options = [*runs.MODELS["classifier"], *runs.SMALL, *runs.DIGITS, *until(epochs)]
        options += [f"--trainer.default_root_dir={root}", "--ckpt_path=last"]
        command = [*TORCHRUN, f"--nproc-per-node={ranks}", "cli.py", "fit", *options, *more]
        with (root / "log").open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=os.environ | ENVIRONMENT, stdout=log, stderr=log
            )

    def wait_for_more(self) -> None:
        """Waits until the run has saved a newer checkpoint than now, or has ended."""
        before = self.saved()
        runs.wait_for(lambda: self.saved() > before or self.process.poll() is not None)

    def saved(self) -> float:
        """The time of the newest checkpoint."""
        found = self.root.glob("run/version_0/checkpoints/last.ckpt")
        return max((path.lstat().st_mtime for path in found), default=0.0)

    def hit(self, chance: random.Random, signum: signal.Signals) -> None:
        """Sends a signal to one of the ranks."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        os.kill(int(chance.choice(children)), signum)

    def end(self) -> str:
        """Waits for the end, which must be a good one, and returns what was printed."""
        code = self.process.wait(runs.PATIENCE)
        text = (self.root / "log").read_text()
        assert code == 0, text[-3000:]
        return text


@pytest.mark.ddp
@pytest.mark.parametrize("signum", SIGNALS[: rounds(full=2, short=1)], ids=lambda s: s.name)
def test_a_run_heals_itself(signum, uninterrupted, tmp_path):
    chance = random.Random(int(signum))
    whole = uninterrupted("classifier", *until(EPOCHS), processes=2)
    for number in range(rounds(full=10, short=1)):
        run = Run(tmp_path / str(number), 2, EPOCHS, "--trainer.rank_timeout=4")
        run.wait_for_more()
        time.sleep(chance.uniform(0, 1))
        run.hit(chance, signum)
        assert "Continues" in run.end()
        runs.check_equal(run.root, whole, spare=1)


def test_a_mistake_at_the_first_start_is_not_repeated(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.faults.test_restarts.TORCHRUN", [*TORCHRUN, "--max-restarts=2"])
    run = Run(tmp_path / "run", 2, EPOCHS, "--model.widht=2")
    assert run.process.wait(runs.PATIENCE)
    assert (tmp_path / "run/log").read_text().count("error: ") == 1


def measure(root: Path, ranks: int, epochs: int, seconds: float) -> None:
    """Prints how long restarts take, and the share of the time that is left for training.

    Then trains without a fault, and checks that the weights and all rows are the same.
    """
    chance, waits = random.Random(0), list[float]()
    run = Run(root / "disturbed", ranks, epochs)
    run.wait_for_more()
    start = time.monotonic()
    while run.process.poll() is None:
        began = time.monotonic()
        run.hit(chance, signal.SIGKILL)
        time.sleep(0.2)  # a rank may be amid a save
        run.wait_for_more()
        waits.append(time.monotonic() - began)
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.process.wait(max(0, seconds - waits[-1]))
    took = time.monotonic() - start
    print(
        f"{ranks} ranks, {len(waits)} faults in {took:.0f} s: {1 - sum(waits) / took:.0%} trained"
    )
    print("from a fault to the next checkpoint, s:", *(f"{wait:.1f}" for wait in sorted(waits)))
    run.end()
    whole = Run(root / "whole", ranks, epochs)
    whole.process.wait()
    whole.end()
    runs.check_equal(run.root, whole.root, spare=1)
    print("The weights and all rows are those of a run without a fault.")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))

"""A rank that is stuck or cut off ends the others, which name it. A resumed run has equal bits.

The network of these tests is a namespace of Linux, whose loopback device is taken down to cut or
delay all connections.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import pytest

from callbacks import EpochCheckpoint
from models.base import Module
from runtime.preemption import Agreement
from tests import ranks
from tests.faults import runs
from tests.faults.runs import at_batch, before, rounds

pytestmark = pytest.mark.ddp
Uninterrupted = Callable[..., Path]
KINDS = "GAN", "classifier"
LIMIT = 5.0  # seconds that a rank waits
SPARE = 45.0  # seconds for the ranks to agree on who is missing, on a busy machine
PLAIN = "--trainer.pictures=false"  # rank zero may draw for longer than the others wait
OPTIONS = PLAIN, f"--trainer.rank_timeout={LIMIT}"
SLICE = 0.2  # seconds
CLONE_NEWNET = 0x40000000


def freeze() -> None:
    """Stops this process, as a defective disk, driver or machine does."""
    os.kill(os.getpid(), signal.SIGSTOP)


MOMENTS: dict[str, Callable[[], None]] = {
    "a step": lambda: before(Module, "on_train_batch_start", 6, freeze),
    "a validation": lambda: before(Module, "on_validation_batch_end", 2, freeze),
    "a save": lambda: before(EpochCheckpoint, "_save_checkpoint", 2, freeze),
    "a vote": lambda: before(Agreement, "_answer", 9, freeze),
}
PLACES = [*product([(2, 0), (2, 1), (4, 0), (4, 2)], MOMENTS)]  # processes and the stuck one
ALL = [(KINDS[(i + i // len(MOMENTS)) % 2], *place) for i, place in enumerate(PLACES)]
SOME = [("classifier", (2, 1), "a save")]
FULL = rounds(full=1, short=0)


def lines_of(root: Path, processes: int) -> list[str]:
    """Returns the errors that the ranks printed."""
    text = "".join((root / f"{rank}.log").read_text() for rank in range(processes))
    assert "Traceback" not in text, text[-3000:]
    return [line for line in text.splitlines() if line.startswith("error:")]


def check_line(line: str, missing: str) -> None:
    assert line.startswith(f"error: rank {missing} did not answer within {LIMIT:g} s"), line
    assert "--ckpt_path last" in line


@pytest.mark.parametrize(("kind", "where", "moment"), ALL if FULL else SOME)
def test_the_others_end_and_name_a_rank_that_is_stuck(kind, where, moment, tmp_path, uninterrupted):
    processes, victim = where
    started = runs.start(
        tmp_path, kind, *OPTIONS, fault=MOMENTS[moment], processes=processes, rank=victim
    )
    others = [process for rank, process in enumerate(started) if rank != victim]
    try:
        wait_until_frozen(started[victim])
        assert ranks.end(others, LIMIT + SPARE) == [1] * (processes - 1)
    finally:
        assert ranks.end([started[victim]], 0.1) == [None]
    lines = lines_of(tmp_path, processes)
    assert len(lines) == (1 if victim else processes - 1), lines  # its store orders who prints
    (line,) = set(lines)
    check_line(line, str(victim))
    runs.finish(runs.start(tmp_path, kind, PLAIN, processes=processes), tmp_path)
    runs.check_equal(tmp_path, uninterrupted(kind, PLAIN, processes=processes), spare=1)


def state_of(process: ranks.ForkProcess) -> str:
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2][0]


def wait_until_frozen(process: ranks.ForkProcess) -> None:
    runs.wait_for(lambda: state_of(process) == "T")


@pytest.mark.parametrize("processes", [2, 4] if FULL else [2])
def test_a_slow_rank_is_not_taken_for_stuck(processes, tmp_path, uninterrupted):
    """It gets a tenth of the time, in slices."""
    started = runs.start(tmp_path, "classifier", *OPTIONS, processes=processes)
    runs.wait_for(lambda: [*tmp_path.glob("run/*/checkpoints/last.ckpt")])  # it has started
    pid = started[1].pid
    while started[1].is_alive():
        for signum, share in ((signal.SIGSTOP, 0.9), (signal.SIGCONT, 0.1)):
            os.kill(pid, signum)  # it is our child: until it is joined, its number is not another's
            time.sleep(share * SLICE)
    runs.finish(started, tmp_path)
    runs.check_equal(tmp_path, uninterrupted("classifier", PLAIN, processes=processes))


# -- the network ----------------------------------------------------------------------------------


@pytest.fixture
def network():
    """Moves this thread and the processes that it starts into a network of their own."""
    with open("/proc/thread-self/ns/net") as before:
        if ctypes.CDLL(None).unshare(CLONE_NEWNET) or not shutil.which("ip"):
            pytest.skip("no right to make a network: run as root, with iproute2")
        loopback("up")
        yield
        assert not ctypes.CDLL(None).setns(before.fileno(), CLONE_NEWNET)


def loopback(state: str) -> None:
    subprocess.run(["ip", "link", "set", "lo", state], check=True)


def cut(seconds: float) -> None:
    """Loses all that the ranks send for so long; the kernel sends it again after that."""
    loopback("down")
    threading.Timer(seconds, loopback, ["up"]).start()


@pytest.mark.skipif(not FULL, reason="one of many rounds")
@pytest.mark.parametrize("processes", [2, 4])
def test_ranks_that_are_cut_off_end(processes, tmp_path, uninterrupted, network):
    fault = partial(at_batch, 6, partial(loopback, "down"))
    started = runs.start(tmp_path, "GAN", *OPTIONS, fault=fault, processes=processes)
    assert ranks.end(started, runs.PATIENCE) == [1] * processes
    lines = lines_of(tmp_path, processes)  # each sees its own part of the network
    assert len(lines) == processes, lines
    check_line(lines[0], ", ".join(map(str, range(1, processes))))
    for line in lines[1:]:
        check_line(line, "0")
    loopback("up")
    runs.finish(runs.start(tmp_path, "GAN", PLAIN, processes=processes), tmp_path)
    runs.check_equal(tmp_path, uninterrupted("GAN", PLAIN, processes=processes), spare=1)


@pytest.mark.parametrize("processes", [2, 4] if FULL else [2])
def test_a_delay_of_the_network_changes_nothing(processes, tmp_path, uninterrupted, network):
    fault = partial(at_batch, 6, partial(cut, LIMIT / 4))
    started = runs.start(tmp_path, "classifier", *OPTIONS, fault=fault, processes=processes)
    runs.finish(started, tmp_path)
    runs.check_equal(tmp_path, uninterrupted("classifier", PLAIN, processes=processes))

"""Threads sleep soon, and the cores that other programs use are measured."""

import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runtime import threads
from runtime.threads import Usage, advice, used_by_others
from tests.conftest import ROOT

needs_proc = pytest.mark.skipif(not Path("/proc/stat").exists(), reason="needs Linux's /proc/stat")


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, threads.SPINS), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)],
)
def test_threads_sleep_soon_unless_the_user_chose(
    given: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    threads.sleep_soon()
    assert os.environ.get("GOMP_SPINCOUNT") == expected


def test_the_command_line_sets_it_before_torch_is_imported() -> None:
    script = (
        "import sys, cli\nfrom runtime import threads\n"
        "threads.sleep_soon = lambda: sys.exit(30 + ('torch' in sys.modules))\n"
        "cli.main(['fit', '--help'])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True)
    assert done.returncode == 30


def test_no_number_changes() -> None:
    """A step of a convolutional network on two threads, with either length of wait."""
    script = (
        "import hashlib, torch\ntorch.manual_seed(0)\n"
        "net = torch.nn.Sequential(torch.nn.Conv2d(1, 32, 5), torch.nn.ReLU(),"
        "torch.nn.Flatten(), torch.nn.Linear(32 * 24 * 24, 10))\n"
        "net(torch.randn(64, 1, 28, 28)).square().mean().backward()\n"
        "gradients = torch.cat([p.grad.flatten() for p in net.parameters()])\n"
        "assert gradients.count_nonzero() > 100_000\n"
        "print(hashlib.sha256(gradients.numpy().tobytes()).hexdigest())"
    )
    found = []
    for spins in ("300000", threads.SPINS):
        environment = os.environ | {"OMP_NUM_THREADS": "2", "GOMP_SPINCOUNT": spins}
        command = [sys.executable, "-c", script]
        found.append(subprocess.check_output(command, env=environment, text=True))
    assert found[0] == found[1]


def test_others_use_what_this_process_does_not() -> None:
    before = Usage(cores=4, clock=100.0, own=50.0, all=200.0)
    assert used_by_others(before, Usage(4, 110.0, 65.0, 230.0)) == pytest.approx(1.5)
    assert used_by_others(before, Usage(4, 110.0, 65.0, 214.9)) == 0.0  # counted in ticks


@needs_proc
def test_another_program_and_this_one_are_counted() -> None:
    """Compared with its own measured use, because other programs run beside the tests."""
    loop = "import time\nend = time.perf_counter() + 2\nwhile time.perf_counter() < end: pass\n"
    report = f"{loop}print(time.process_time())"
    before = threads.usage()
    assert before is not None
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True)
    middle = threads.usage()
    assert middle is not None
    while time.process_time() < middle.own + 1:
        math.sqrt(2.0)
    after = threads.usage()
    assert after is not None
    assert (middle.all - before.all) - (middle.own - before.own) > float(done.stdout) - 0.2
    assert after.own - middle.own > 0.9
    assert after.all - middle.all > 0.8
    assert before.cores == len(os.sched_getaffinity(0))


def test_a_limit_of_the_container_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    assert threads.allowed() == 1


@pytest.mark.parametrize(
    ("count", "cores", "allowed", "others", "remedy"),
    [
        (2, 2, 2, 0.4, ""),
        (2, 2, 2, 0.6, "OMP_NUM_THREADS=1"),
        (4, 8, 8, 4.0, ""),
        (4, 8, 8, 5.0, "OMP_NUM_THREADS=3"),
        (8, 8, 8, 9.0, "OMP_NUM_THREADS=1"),
        (16, 16, 2, 0.0, "OMP_NUM_THREADS=2"),
        (2, 16, 2, 9.0, ""),  # other containers on the same machine
    ],
)
def test_advice_names_the_free_cores(
    count: int, cores: int, allowed: int, others: float, remedy: str
) -> None:
    text = advice(count, cores, allowed, others)
    assert text.endswith(f"{remedy}." if remedy else "")
    assert bool(text) == bool(remedy)

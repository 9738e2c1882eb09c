"""Fixtures for all tests: each leaves the process as it found it."""

import hashlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
import torch.distributed as dist

from runtime import signals
from tests import OPTIONAL, Hiding
from tests.commands.runs import cgan, classifier, gan, iris  # noqa: F401  # fixtures of all tests

ROOT = Path(__file__).parent.parent
torch.set_num_threads(1)  # the networks of tests are small: threads would mostly wait
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts its background jobs
    signal.signal(signal.SIGINT, signal.default_int_handler)  # children inherit no handler


MARKS = {"extras", "browser", "slurm"}  # of tests that see the optional libraries
libraries: dict[str, Any] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Shows the optional libraries to a test that has a mark, and hides them again."""
    if not MARKS & {mark.name for mark in item.iter_markers()}:
        return (yield)
    Hiding.hidden = set()
    sys.modules.update(libraries)
    try:
        return (yield)
    finally:
        libraries.update({name: sys.modules.pop(name) for name in OPTIONAL & sys.modules.keys()})
        Hiding.hidden = OPTIONAL


def pytest_collection_modifyitems(items):
    """Starts files with slow tests first, so that no process waits for another at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def skip(reason: str) -> NoReturn:
    """Skips a test for want of a tool. In a CI, which installs it, the test fails instead."""
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)


def restored() -> Iterator[None]:
    """Afterward restores environment, signal handlers, process group, RNG and rounding."""
    environment = dict(os.environ)
    for name in [n for n in os.environ if n.startswith(("SLURM_", "PL_")) or n == "LOCAL_RANK"]:
        del os.environ[name]  # inside an allocation Lightning would see a cluster
    handlers = {s: signal.getsignal(s) for s in (*signals.STOP_SIGNALS, signal.SIGINT)}
    rng = torch.get_rng_state()
    torch.manual_seed(0)  # otherwise a test's weights depend on which tests ran before it
    yield
    signals.restore()
    for signum, handler in handlers.items():
        signal.signal(signum, handler)
    torch.set_rng_state(rng)
    torch.set_flush_denormal(False)
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
    os.environ.clear()
    os.environ.update(environment)


# No test changes the process for the next one, and no module's fixtures for the next module.
restore_test = pytest.fixture(restored, autouse=True, name="restore_test")
restore_module = pytest.fixture(restored, autouse=True, scope="module", name="restore_module")


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """Decoded images and records of configs go into folders of the tests."""
    os.environ["LADDER_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["LADDER_STATE"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture
def in_root(monkeypatch):
    """The test runs in the project's folder, where `configs/` is."""
    monkeypatch.chdir(ROOT)
    return ROOT


def weights_hash_of(path: Path) -> str:
    """Returns a hash of the bits of all weights, buffers and optimizer states in a checkpoint."""
    checkpoint = torch.load(path, weights_only=True)
    digest = hashlib.sha256()
    for name, tensor in checkpoint["state_dict"].items():
        digest.update(name.encode() + tensor.numpy().tobytes())
    for optimizer in checkpoint["optimizer_states"]:
        for state in optimizer["state"].values():
            for value in state.values():
                digest.update(torch.as_tensor(value).numpy().tobytes())
    return digest.hexdigest()


@pytest.fixture
def weights_hash():
    return weights_hash_of

"""A long run uses no more memory, objects, files or threads with time."""

import gc
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.long_run import arguments
from benchmarks.watch import Window, growing, read
from lightning import Callback

from tests.faults.ledger import Ledger, Row, rounds
from tests.test_cli import run

STEADY = {"memory_mb", "objects", "files", "threads"}  # in a short run already
pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux's /proc")


@pytest.fixture(autouse=True)
def _as_if_new(in_root: Path) -> Iterator[None]:
    """Leaves out of the count of objects what imports and other tests made."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def trained(system: str, steps: int, folder: Path, *options: str) -> list[Window]:
    file = folder / "windows.csv"
    run(*arguments(system, steps, steps // 20, file, folder), *options)
    return read(file)


@pytest.mark.parametrize("system", ["GAN", "classifier"])
def test_a_long_run_does_not_grow(system: str, tmp_path: Path, ledger: Ledger) -> None:
    steps = rounds(full=20_000, short=500)
    windows = trained(system, steps, tmp_path)
    assert len(windows) == 20
    assert windows[-1].checkpoint_mb > 0.1
    assert len(list(tmp_path.glob("*/*/figures/*.png"))) > 1
    found = {name: share for name, share in growing(windows).items() if name in STEADY}
    ledger.add(Row(f"steps of a run ({system}): growth", steps, silent=len(found)))


class Leak(Callback):
    """Keeps a tensor, an open file and a thread of each step."""

    def __init__(self) -> None:
        self.tensors: list[torch.Tensor] = []
        self.files: list[int] = []
        self.end = threading.Event()

    def on_train_batch_end(self, *_: Any) -> None:
        self.tensors.append(torch.ones(250_000))
        self.files.append(os.open("/dev/null", os.O_RDONLY))
        threading.Thread(target=self.end.wait).start()

    def on_train_end(self, *_: Any) -> None:
        self.end.set()
        for file in self.files:
            os.close(file)


def test_a_leak_is_found(tmp_path: Path) -> None:
    leak = f"--trainer.callbacks+={__name__}.Leak"
    windows = trained("classifier", 100, tmp_path, leak)
    assert growing(windows).keys() & STEADY == {"memory_mb", "objects", "files", "threads"}

"""Memory that runs out is one line with the batch size, and earlier checkpoints are kept."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datamodules import Images
from models import GAN, ImageClassifier
from runtime.checkpoints import problem_of
from tests import ranks
from tests.faults import runs
from tests.faults.ledger import Ledger, Row, rounds

TOO_MUCH = 1 << 56  # bytes, for which no system has address space


def of_cuda() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a ...")


def of_cpu() -> None:
    torch.empty(TOO_MUCH, dtype=torch.uint8)


def of_numpy() -> None:
    np.empty(TOO_MUCH, dtype=np.uint8)


def at_call(owner: Any, name: str, count: int, allocate: Callable[[], None]) -> None:
    """Runs out of memory in the n-th call of a function."""
    real, left = getattr(owner, name), [count]

    def called(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if not left[0]:
            allocate()
        return real(*args, **kwargs)

    setattr(owner, name, called)


@pytest.mark.parametrize(
    ("name", "count", "allocate"),
    [("validation_step", 5, of_cpu), ("training_step", 7, of_cuda), ("training_step", 7, of_numpy)][
        : rounds(full=3, short=2)
    ],
)
def test_out_of_memory_in_a_run(
    name: str, count: int, allocate: Callable[[], None], tmp_path: Path, ledger: Ledger
) -> None:
    fault = partial(at_call, ImageClassifier, name, count, allocate)
    line = runs.fails(runs.start(tmp_path, "classifier", fault=fault), tmp_path)
    assert "fit: out of memory on cpu" in line
    assert "the batch of 64 examples is 64 for each of 1 process" in line
    for remedy in ("--data.batch_size 32", "accumulate_grad_batches 2", "bf16-mixed"):
        assert remedy in line
    assert ("for 2.50 GiB more" in line) == (allocate is of_cuda)
    (last,) = tmp_path.glob("run/*/checkpoints/last.ckpt")
    assert not problem_of(last)
    ledger.add(Row(f"out of memory in {name}, {allocate.__name__}", 1))


def test_out_of_memory_of_one_process_of_two(tmp_path: Path, ledger: Ledger) -> None:
    """The process that fails says so, though it is not rank zero."""

    def fault() -> None:
        at_call(ImageClassifier, "training_step", 6, of_cpu)

    started = runs.start(tmp_path, "classifier", fault=fault, processes=2, rank=1)
    codes = ranks.end(started, runs.PATIENCE)
    assert codes[1] == 1
    (line,) = [n for n in (tmp_path / "1.log").read_text().splitlines() if n.startswith("error:")]
    assert "the batch of 64 examples is 32 for each of 2 processes" in line
    ledger.add(Row("out of memory in one process of two", 1, hung=codes.count(None)))


def test_out_of_memory_when_data_are_read(tmp_path: Path, ledger: Ledger) -> None:
    fault = partial(at_call, Images, "load_splits", 1, of_numpy)
    line = runs.fails(runs.start(tmp_path, "classifier", fault=fault), tmp_path)
    assert "while the data were read, which are kept in memory whole" in line
    ledger.add(Row("out of memory when data are read", 1))


def test_out_of_memory_in_sample(tmp_path: Path, ledger: Ledger) -> None:
    runs.finish(runs.start(tmp_path, "GAN", "--trainer.max_epochs=1"), tmp_path)
    args = ["sample", f"--ckpt_path={runs.folder_of(tmp_path)}", "--trainer.accelerator=cpu"]
    fault = partial(at_call, GAN, "forward", 1, of_cpu)
    line = runs.fails(runs.command(tmp_path, *args, fault=fault), tmp_path)
    assert line.startswith("error: sample: out of memory on cpu")
    assert "Try --trainer.accelerator cpu" in line
    ledger.add(Row("out of memory in sample", 1))

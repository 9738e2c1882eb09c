"""Starts the ranks of one run as forked processes, which need not import anything again."""

import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable
from multiprocessing.context import ForkProcess
from pathlib import Path

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from tests.conftest import ROOT


def start(ranks: int, work: Callable[[], object], folder: Path) -> list[ForkProcess]:
    """Starts each rank of `work`; its output goes to `<folder>/<rank>.log`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fork = multiprocessing.get_context("fork")
    processes = [
        fork.Process(target=_run, args=(work, ranks, rank, port, folder)) for rank in range(ranks)
    ]
    for process in processes:
        process.start()
    return processes


def _run(work: Callable[[], object], ranks: int, rank: int, port: int, folder: Path) -> None:
    log = os.open(folder / f"{rank}.log", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdout, sys.stderr = (os.fdopen(fd, "w", buffering=1) for fd in (1, 2))
    os.chdir(ROOT)
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks), "GROUP_RANK": "0",
        "LOCAL_WORLD_SIZE": str(ranks), "TORCHELASTIC_RUN_ID": "test",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    rank_zero_only.rank = rank  # The parent set it at import.
    torch.set_num_threads(1)
    work()


def end(processes: list[ForkProcess], seconds: float) -> list[int | None]:
    """Waits for all ranks and returns their exit codes; None for a rank that was killed."""
    limit = time.monotonic() + seconds
    for process in processes:
        process.join(max(0.1, limit - time.monotonic()))
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
        process.join()
    return codes

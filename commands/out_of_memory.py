"""Memory that ran out, explained in one line with the sizes that decide how much is needed."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from runtime.errors import RunFailedError

MESSAGES = ("can't allocate memory", "not enough memory", "CUDA out of memory")  # of torch


@contextmanager
def explained(cli: Any) -> Iterator[None]:
    """Turns the errors of allocators into one line.

    Args:
        cli: The command line, whose trainer, data and config exist as far as it got.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise RunFailedError(_text(cli, str(error))) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether an allocator found too little memory, that of a device included."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in MESSAGES)


def _text(cli: Any, reason: str) -> str:
    command = cli.config.subcommand
    trainer, data = getattr(cli, "trainer", None), getattr(cli, "datamodule", None)
    amount = re.search(r"[Aa]llocate (\d[\d.,]*) ?(\w+)", reason)
    where = f" on {trainer.strategy.root_device}" if trainer else ""
    if amount and amount[2] == "bytes":
        where += f" (for {int(amount[1]) / 1e9:,.1f} GB more)"
    elif amount:
        where += f" (for {amount[1]} {amount[2]} more)"
    text = f"{command}: out of memory{where}"
    if trainer is None or (data is not None and getattr(data, "splits", data) is None):
        return (
            f"{text} while the data were read, which are kept in memory whole. Use fewer or "
            "smaller examples, or a machine with more memory."
        )
    if command == "fit":
        text += f" at step {trainer.global_step:,}"
    size, processes = getattr(data, "batch_size", None), trainer.world_size
    if size is None:
        return f"{text}. Try --trainer.accelerator cpu, or --trainer.precision bf16-mixed."
    remedies = [f"--data.batch_size {max(processes, size // 2)}", "--trainer.precision bf16-mixed"]
    if command == "fit":
        part = "trainer" if cli.model.automatic_optimization else "model"
        remedies.insert(1, f"--{part}.accumulate_grad_batches 2 with it")
    kept = " Checkpoints are kept: `--ckpt_path last` goes on." if command == "fit" else ""
    return (
        f"{text}: the batch of {size} examples is {size // processes} for each of {processes} "
        f"process{'es' * (processes > 1)}. Try {', '.join(remedies)}.{kept}"
    )

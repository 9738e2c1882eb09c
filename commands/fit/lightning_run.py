"""Runs fit, validate and test, from the command line or from Python. Imports nothing heavy."""

import json
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from commands import terminal
from runtime import cpu, signals
from runtime.errors import UserError


def run_lightning(args: list[str], own_process: bool = False) -> Any:
    """Runs fit, validate or test, and returns their Trainer, model and data."""
    if own_process and args[0] == "fit":
        signals.end_with_parent()
        signals.install()  # before imports that take seconds, because fit saves on a stop signal
    with terminal.without_irrelevant_messages():
        try:
            with cpu.imports(own_process):
                from commands.fit.ladder_cli import LadderCLI

            terminal.shorten_warnings()
            run = LadderCLI(args)
        except SystemExit:  # saved after a stop signal
            _leave_ranks(own_process)
            raise
        finally:
            if not own_process:
                signals.restore()
    _leave_ranks(own_process)
    return run


def _leave_ranks(own_process: bool) -> None:
    """Destroys the process group, as torch requires before the interpreter shuts down.

    A thread of gloo that lets go of a tensor during the shutdown would abort the process, and the
    job would count as failed. After an error no rank waits: see `exit_without_cleanup`.
    """
    import torch.distributed as dist

    if own_process and dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def run_as_function(args: list[str], options: Any = None) -> Any:
    """Runs fit, validate or test in this process, and restores the process's state afterward."""
    with process_as_before():
        return run_lightning([*args, *flags(options)])


def flags(options: Any) -> list[str]:
    """Returns options, `{"trainer.max_epochs": 5}` or texts, as words of a command line."""
    if isinstance(options, Mapping):
        options = [
            f"{name}={x if isinstance(x, str | Path) else json.dumps(x, default=_plain)}"
            for name, x in options.items()
        ]
    words = [options] if isinstance(options, str) else [] if options is None else options
    if not isinstance(words, list | tuple) or any(not isinstance(word, str) for word in words):
        raise UserError('options: give a dictionary, such as {"trainer.max_epochs": 5}')
    return [f"--{word.removeprefix('--')}" for word in words]


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)  # of NumPy


@contextmanager
def process_as_before() -> Iterator[None]:
    """Restores signal handlers, environment, random numbers and the rounding of tiny numbers."""
    import torch
    from lightning.pytorch.utilities.seed import isolate_rng

    handlers = {
        number: signal.getsignal(number) for number in (*signals.STOP_SIGNALS, signal.SIGINT)
    }
    environment = dict(os.environ)
    rounds = not torch.full((1,), 2e-38).div(4).item()
    try:
        with isolate_rng():
            yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.environ.clear()
        os.environ.update(environment)
        torch.set_flush_denormal(rounds)

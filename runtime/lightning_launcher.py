"""The end of a run whose other processes Lightning started, after one of them has ended."""

import os
import time
from functools import partial
from typing import Any

from lightning import Trainer
from lightning.fabric.strategies.launchers.subprocess_script import _ChildProcessObserver
from lightning.pytorch.strategies.launchers import subprocess_script

from runtime.errors import LOST_PROCESS, announce


def let_rank_zero_end(trainer: Trainer) -> None:
    """Lets rank zero say itself why a rank that it started has ended.

    Lightning looks every five seconds whether one has, and kills rank zero. That is often just
    about to end, with the reason and another exit code.
    """
    launcher = trainer.strategy.launcher
    if isinstance(launcher, subprocess_script._SubprocessScriptLauncher):
        vars(launcher)["launch"] = partial(_launch, launcher)


def _launch(launcher: Any, *args: Any, **kwargs: Any) -> Any:
    own = subprocess_script._launch_process_observer
    try:
        vars(subprocess_script)["_launch_process_observer"] = _observe
        return type(launcher).launch(launcher, *args, **kwargs)
    finally:
        vars(subprocess_script)["_launch_process_observer"] = own


def _observe(ranks: list[Any]) -> None:
    PatientObserver(os.getpid(), ranks).start()


class PatientObserver(_ChildProcessObserver):
    """Ends rank zero only if that has not ended by itself for some time."""

    patience = 20.0  # seconds

    def _run(self) -> bool:
        codes = [rank.poll() for rank in self._child_processes]
        if any(codes):
            time.sleep(self.patience)  # this thread ends with the process
            announce(LOST_PROCESS)
            for rank in self._child_processes:
                rank.kill()
            os._exit(1)
        return all(code == 0 for code in codes)

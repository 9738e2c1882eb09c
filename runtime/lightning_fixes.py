"""Corrections of Lightning: what exact resume and stop signals need.

Only this file uses its private names. The corrections act on this project's Trainer alone, and are
verified for the versions that `pyproject.toml` allows.
"""

from collections import OrderedDict
from datetime import timedelta
from functools import partial
from typing import Any
from weakref import WeakSet

from lightning import Trainer
from lightning.fabric.plugins.collectives.torch_collective import default_pg_timeout
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from lightning.pytorch.utilities.rank_zero import rank_zero_info

GOES_ON = EarlyStoppingReason.NOT_STOPPED

_corrected: WeakSet[Trainer] = WeakSet()


def correct(trainer: Trainer) -> None:
    """Applies the corrections that every run needs to one trainer."""
    _corrected.add(trainer)
    # Functions of this module, because spawned processes get a pickled trainer.
    loop, epoch_loop = trainer.fit_loop, trainer.fit_loop.epoch_loop
    connector = trainer._logger_connector
    vars(loop)["setup_data"] = partial(_setup_data, loop)
    vars(loop)["load_state_dict"] = partial(_load_state_dict, loop)
    vars(loop)["run"] = partial(_run, loop)
    vars(epoch_loop)["advance"] = partial(_advance, epoch_loop)
    vars(epoch_loop)["_should_check_val_fx"] = partial(_should_validate, epoch_loop)
    vars(connector)["log_metrics"] = partial(_log_metrics, connector)


def _setup_data(loop: Any) -> None:
    """Sets up the loader, then tells it where to resume.

    Lightning does not tell a loader that it set up before it read the checkpoint, as it does for
    `estimated_stepping_batches`, so an interrupted epoch would start again at its first batch.
    """
    type(loop).setup_data(loop)
    loop._load_combined_loader_states()  # does nothing the second time


def _load_state_dict(loop: Any, *args: Any) -> None:
    """Restores the progress of a run that may have ended within an epoch.

    Lightning counts an epoch that `max_steps` ended early as processed, so a run with more steps
    would never train on the rest of it. It also counts a finished epoch twice.
    """
    type(loop).load_state_dict(loop, *args)
    epochs, batches = loop.epoch_progress, loop.epoch_loop.batch_progress
    if loop._combined_loader_states_to_load and batches.current.ready and not batches.is_last_batch:
        for progress in (epochs.total, epochs.current):
            progress.processed = progress.completed = progress.ready - 1
        loop.restarting = True  # which Lightning has decided by what it counted
    elif epochs.current.processed == epochs.current.ready:
        loop._restarting = loop.epoch_loop.restarting = False


def _run(loop: Any) -> None:
    """Trains, or repeats the evaluation and figures of a run that was killed after its last step.

    The validation for them logs nothing, because its results were logged before the checkpoint.
    """
    loop.setup_data()
    trainer = loop.trainer
    stops = [call for call in trainer.callbacks if isinstance(call, EarlyStopping)]
    if loop.is_resuming and any(call.stopping_reason != GOES_ON for call in stops):
        trainer.should_stop = True  # which no checkpoint keeps
    if not (loop.is_resuming and loop.done):
        type(loop).run(loop)
        return
    rank_zero_info("The run has ended: its evaluation and figures are made again.")
    loop.restarting = False
    loop.on_run_start()
    if trainer.enable_validation:
        connector = vars(trainer._logger_connector)
        log_metrics, connector["log_metrics"] = connector["log_metrics"], _do_nothing
        trainer.validating = True
        loop.epoch_loop.val_loop.run()
        trainer.training = True
        connector["log_metrics"] = log_metrics
    loop.on_run_end()


def validates_next(trainer: Trainer) -> bool:
    """Returns whether a validation follows this batch. Lightning resumes behind it."""
    loop: Any = trainer.fit_loop
    due: bool = loop.epoch_loop._should_check_val_fx(loop._data_fetcher)
    return due


def train_on(trainer: Trainer, batch: Any, batch_idx: int) -> None:
    """Trains on a batch as `_advance` does, without counting or logging it, if it is automatic."""
    loop: Any = trainer.fit_loop.epoch_loop
    trainer.lightning_module.on_train_batch_start(batch, batch_idx)
    arguments = loop._build_kwargs(OrderedDict(), batch, batch_idx)
    loop.automatic_optimization.run(trainer.optimizers[0], batch_idx, arguments)


def _advance(loop: Any, *args: Any) -> None:
    """Trains on one batch, after a recount of the steps for loggers.

    Lightning counts one step too many after it resumed from the end of an epoch.
    """
    automatic = loop.trainer.lightning_module.automatic_optimization
    steps = loop.global_step if automatic else loop.batch_progress.total.completed
    loop._batches_that_stepped = steps
    type(loop).advance(loop, *args)


def _should_validate(loop: Any, *args: Any) -> bool:
    """Returns whether to validate now: also after the last step of a run, within an epoch.

    Lightning would leave such a run with the scores of its last whole epoch.
    """
    over = loop.max_steps != -1 and loop.global_step >= loop.max_steps
    due: bool = type(loop)._should_check_val_fx(loop, *args)
    return due or (over and loop.trainer.enable_validation)


def _log_metrics(connector: Any, *args: Any, **kwargs: Any) -> None:
    """Logs at the number of steps done, like checkpoints and pictures. Lightning's is one less."""
    trainer, loop = connector.trainer, connector.trainer.fit_loop.epoch_loop
    more = int(trainer.state.fn == "fit")
    loop._batches_that_stepped += more
    type(connector).log_metrics(connector, *args, **kwargs)
    loop._batches_that_stepped -= more


def set_rank_timeout(trainer: Trainer, limit: timedelta) -> None:
    """Limits how long a rank waits for others. A limit that the strategy was given stays."""
    if getattr(trainer.strategy, "_timeout", None) == default_pg_timeout:
        vars(trainer.strategy)["_timeout"] = limit


def disable_signal_handlers(trainer: Trainer) -> None:
    """Keeps Lightning from handling stop signals. The caller handles them instead.

    Its handlers talk to the other ranks, which deadlocks when they receive the signal milliseconds
    apart. Before each batch it also waits for a broadcast, on a GPU until the queue is empty.
    """
    if trainer in _corrected:
        vars(trainer._signal_connector)["register_signal_handlers"] = _do_nothing
        vars(trainer.fit_loop.epoch_loop)["_broadcast_sigterm_tensor"] = _do_nothing


def _do_nothing(*args: Any, **kwargs: Any) -> None:
    pass


def log_batch(trainer: Trainer) -> None:
    """Logs the batch that just ended, which Lightning does after `on_train_batch_end`."""
    if trainer in _corrected:
        trainer._logger_connector.on_batch_end()
        trainer._logger_connector.update_train_step_metrics()

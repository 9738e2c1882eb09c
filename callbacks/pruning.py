"""Pruning: a run of a search stops early if others were better at the same point."""

from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn

from runtime.errors import UserError


class Pruning(Callback):
    """Reports a metric to an Optuna study after each validation, and stops the run if it says so.

    `python cli.py sweep --space ...` adds this callback to its runs. A `train/` metric is reported
    after each epoch. The run's checkpoints keep the number of reports, because the study compares
    the n-th report of a run with the n-th of others.

    Args:
        study: The file of the study. Without that file, the run is trained to its end.
        trial: The number of the run's trial. If the trial has ended, the run is trained to its end.
        monitor: The metric to report.
        pruner: `median` stops a run whose best report so far is worse than the median of other
            runs, after the first five have ended. `none` only reports.
    """

    def __init__(self, study: str, trial: int, monitor: str, pruner: str = "median") -> None:
        self.file, self.number, self.monitor, self.pruner = Path(study), trial, monitor, pruner
        self._reports = 0
        self._trial: Any = None  # only on rank zero

    def state_dict(self) -> dict[str, Any]:
        return {"reports": self._reports}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._reports = state_dict["reports"]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.file.is_file():
            rank_zero_warn(f"There is no study {self.file}, so this run is not pruned.")
        elif trainer.is_global_zero:
            self._trial = self._open()

    def _open(self) -> Any:
        try:
            import optuna
        except ImportError:
            raise UserError(
                'trainer.callbacks: Pruning needs Optuna: pip install -e ".[sweep]"'
            ) from None
        from runtime.study import open_study, unfinished_trial

        pruners = {"median": optuna.pruners.MedianPruner, "none": optuna.pruners.NopPruner}
        study = open_study(self.file, pruner=pruners[self.pruner]())
        if study.trials[self.number].state.is_finished():
            rank_zero_info(f"Trial {self.number} of {self.file} has ended, so nothing is reported.")
            return None
        return unfinished_trial(study, self.number)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking and not self.monitor.startswith("train/"):
            self._report(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.monitor.startswith("train/"):
            self._report(trainer)

    def _report(self, trainer: Trainer) -> None:
        from runtime.study import PRUNED

        value, stop = trainer.callback_metrics.get(self.monitor), False
        if self._trial is not None and value is not None:
            self._trial.report(float(value), self._reports)
            if stop := self._trial.should_prune():
                self._trial.set_user_attr(PRUNED, trainer.global_step)
        self._reports += 1
        if trainer.strategy.broadcast(stop):
            rank_zero_info(f"Pruned after step {trainer.global_step}: {self.monitor} {value:.4g}.")
            trainer.should_stop = True

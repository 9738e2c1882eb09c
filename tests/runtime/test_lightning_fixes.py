"""Corrections of Lightning: each is needed, and applies to this project's Trainer alone."""

import csv
from copy import deepcopy
from datetime import timedelta
from typing import Any

import pytest
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.profilers import SimpleProfiler
from lightning.pytorch.strategies import DDPStrategy

from callbacks import EpochCheckpoint, StepMonitor
from datamodules import Iris
from models import IrisMLP
from models.training import Schedule
from runtime import lightning_fixes as fixes
from runtime.preemption import Preemption
from runtime.run_folder import RunFolder
from runtime.trainer import LadderTrainer
from tests.runtime.fitting import fit

# -- resuming -----------------------------------------------------------------------------------


class Scheduled(IrisMLP):
    """Needs the number of steps for its schedule, so Lightning sets up the loader early."""

    def __init__(self) -> None:
        super().__init__(schedule=Schedule("cosine"))
        self.batches: list[int] = []

    def on_train_start(self) -> None:
        pass

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_start(batch, batch_idx)
        self.batches.append(hash(batch[0].numpy().tobytes()))


def test_a_loader_that_was_set_up_early_resumes_where_it_was(tmp_path):
    class Save(Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, *args: Any) -> None:
            if trainer.global_step == 4:
                trainer.save_checkpoint(tmp_path / "4.ckpt")

    whole, resumed = Scheduled(), Scheduled()
    fit(LadderTrainer, whole, Save(), max_steps=8, max_epochs=1)
    fit(LadderTrainer, resumed, max_steps=8, max_epochs=1, ckpt_path=tmp_path / "4.ckpt")
    assert resumed.batches == whole.batches[4:]


class Validated(IrisMLP):
    """Notes each batch of validation, and the step before it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, int]] = []

    def on_validation_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.seen.append((self.global_step, batch_idx))


@pytest.mark.slow
def test_a_run_resumed_within_an_epoch_validates_as_often_and_as_long(tmp_path):
    """Earlier versions of Lightning validated on one batch more, or on the first batch alone."""
    options = {
        "max_steps": -1, "max_epochs": 2, "limit_train_batches": 6, "limit_val_batches": 3,
        "val_check_interval": 2, "num_sanity_val_steps": 0,
    }  # fmt: skip
    save, whole = EpochCheckpoint(keep_last=-1, min_steps=0, every_n_steps=1), Validated()
    fit(LadderTrainer, whole, save, default_root_dir=tmp_path, **options)
    assert len(whole.seen) == 18
    for step in (3, 4, 6, 8):  # also right after a validation, and at an epoch's end
        (path,) = tmp_path.glob(f"**/epoch=*-step={step:07d}.ckpt")
        resumed = Validated()
        fit(LadderTrainer, resumed, ckpt_path=path, **options)
        assert resumed.seen == [seen for seen in whole.seen if seen[0] > step], step


def test_a_run_that_max_steps_ended_continues_anywhere(tmp_path):
    path = tmp_path / "last.ckpt"

    class Save(Callback):
        def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
            trainer.save_checkpoint(path)

    whole, batches = Scheduled(), []
    epochs = {"limit_train_batches": 3, "max_epochs": 4}
    fit(LadderTrainer, whole, max_steps=-1, **epochs)
    for steps in (2, 3, 6, 8, -1):  # within an epoch, or at its end
        part, start = Scheduled(), path if path.exists() else None
        fit(LadderTrainer, part, Save(), max_steps=steps, ckpt_path=start, **epochs)
        batches += part.batches
    assert batches == whole.batches
    assert len(batches) == 12


def test_a_run_resumed_at_an_epochs_end_numbers_its_logs_like_another(tmp_path):
    class Save(Callback):
        def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
            if trainer.global_step == 4:
                trainer.save_checkpoint(tmp_path / "4.ckpt")

    def steps(name: str, *callbacks: Callback, **kwargs: Any) -> list[int]:
        fit(
            LadderTrainer, IrisMLP(), RunFolder(tmp_path, name), *callbacks,
            max_steps=8, max_epochs=-1, limit_train_batches=2, limit_val_batches=1,
            log_every_n_steps=1, **kwargs,
        )  # fmt: skip
        with (tmp_path / name / "version_0" / "metrics.csv").open() as file:
            return [int(row["step"]) for row in csv.DictReader(file) if row["train/loss"]]

    assert steps("whole", Save()) == list(range(1, 9))
    assert steps("resumed", ckpt_path=tmp_path / "4.ckpt") == [5, 6, 7, 8]


@pytest.mark.parametrize(("kind", "steps"), [(Trainer, [2]), (LadderTrainer, [2, 3])])
def test_a_run_that_ends_within_an_epoch_is_validated(kind, steps):
    """So that its scores are those of its last weights. Lightning leaves them out."""
    validated = []

    class Look(Callback):
        def on_validation_end(self, trainer: Any, module: Any) -> None:
            validated.append(trainer.global_step)

    fit(
        kind, IrisMLP(), Look(), max_steps=3, limit_train_batches=2, limit_val_batches=1,
        num_sanity_val_steps=0,
    )  # fmt: skip
    assert validated == steps


def test_a_run_that_early_stopping_ended_stays_ended(tmp_path):
    stop = {"monitor": "val/loss", "min_delta": 10.0, "patience": 1}
    path, steps = tmp_path / "last.ckpt", []
    for start in (None, path):
        trainer = LadderTrainer(
            accelerator="cpu", logger=False, enable_progress_bar=False, max_epochs=9,
            enable_model_summary=False, enable_checkpointing=False,
            callbacks=[EarlyStopping(**stop)],
        )  # fmt: skip
        data = Iris(batch_size=40, val_fraction=0.2)
        trainer.fit(IrisMLP(), datamodule=data, ckpt_path=start)
        trainer.save_checkpoint(path)
        steps.append(trainer.global_step)
    assert steps[0] == steps[1] < 9 * 2


def test_a_model_is_copied_without_its_trainer():
    """As callbacks that average weights copy it: the trainer has locks and all data."""
    trainer = LadderTrainer(accelerator="cpu", logger=False)
    assert deepcopy(trainer) is trainer


def test_a_hook_costs_no_profiler_unless_a_user_wants_one(tmp_path):
    options: dict[str, Any] = {"accelerator": "cpu", "logger": False}
    profiler = fit(LadderTrainer, IrisMLP(), StepMonitor(), **options).profiler  # a connector's
    assert profiler.profile("a hook") is profiler.profile("another hook")
    fit(LadderTrainer, IrisMLP(), profiler=SimpleProfiler(tmp_path, "times"), **options)
    assert "IrisMLP.optimizer_step" in (tmp_path / "fit-times.txt").read_text()


# -- pre-emption --------------------------------------------------------------------------------


def test_the_batch_in_which_a_run_stops_is_logged(tmp_path):
    with pytest.raises(SystemExit):
        fit(
            LadderTrainer, IrisMLP(), RunFolder(tmp_path, "iris"), Preemption({"seconds": 0}),
            log_every_n_steps=1,
        )  # fmt: skip
    with (tmp_path / "iris" / "version_0" / "metrics.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file) if row["train/loss"]] == ["1"]


def test_lightning_neither_handles_signals_nor_asks_for_them():
    registered = []

    class Look(Callback):
        def on_train_start(self, trainer: Any, module: Any) -> None:
            registered.append(bool(trainer._signal_connector._original_handlers))

    without = fit(LadderTrainer, IrisMLP(), Look())
    with_it = fit(LadderTrainer, IrisMLP(), Look(), Preemption())
    assert registered == [True, False]
    stock = _TrainingEpochLoop._broadcast_sigterm_tensor
    assert without.fit_loop.epoch_loop._broadcast_sigterm_tensor.__func__ is stock
    assert with_it.fit_loop.epoch_loop._broadcast_sigterm_tensor is fixes._do_nothing


def test_a_plain_trainer_keeps_its_signals():
    trainer = fit(Trainer, IrisMLP(), Preemption())
    assert "register_signal_handlers" not in vars(trainer._signal_connector)
    assert "_broadcast_sigterm_tensor" not in vars(trainer.fit_loop.epoch_loop)


@pytest.mark.parametrize(("strategy", "seconds"), [
    ("ddp", 9.0), (DDPStrategy(), 9.0), (DDPStrategy(timeout=timedelta(seconds=7)), 7.0),
])  # fmt: skip
def test_a_strategy_keeps_its_own_limit_of_waiting(strategy, seconds):
    trainer: Any = LadderTrainer(
        accelerator="cpu", devices=2, strategy=strategy, rank_timeout=9.0, logger=False
    )
    assert trainer.strategy._timeout.total_seconds() == seconds

"""Corrections of Lightning: each is needed, and applies to this project's Trainer alone."""

import csv
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonargparse
import lightning
import pytest
import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.profilers import PassThroughProfiler, SimpleProfiler
from lightning.pytorch.trainer import call

from datamodules import Iris
from models import IrisMLP
from runtime import lightning_mends as mends
from runtime.preemption import Preemption
from runtime.run_folder import RunFolder
from runtime.trainer import LadderTrainer

Calls = list[tuple[str, str, str]]  # owner, hook, the hook that `self.log` thinks it is in
LIGHTNINGS_OWN = {name: getattr(call, name) for name in mends.HOOK_CALLS}


def lightnings_own() -> bool:
    """Returns whether Lightning calls hooks with its own functions."""
    return all(getattr(call, name) is own for name, own in LIGHTNINGS_OWN.items())


def fit(kind: type[Trainer], model: Any, *callbacks: Callback, **kwargs: Any) -> Trainer:
    options = {
        "max_steps": 3, "limit_val_batches": 0, "accelerator": "cpu", "logger": False,
        "enable_checkpointing": any(isinstance(c, Checkpoint) for c in callbacks),
        "enable_progress_bar": False, "enable_model_summary": False, "precision": "32-true",
    } | kwargs  # fmt: skip
    path = options.pop("ckpt_path", None)
    trainer = kind(callbacks=list(callbacks), **options)
    trainer.fit(model, datamodule=Iris(batch_size=1, val_fraction=0.1), ckpt_path=path)
    return trainer


# -- hooks of a batch ---------------------------------------------------------------------------


def recorders(calls: Calls) -> tuple[IrisMLP, Callback, Callback]:
    """Hooks of a module, of a class of callbacks and of one callback object, all recorded."""

    def note(who: str, name: str) -> Any:
        def of_callback(self: Any, trainer: Any, module: Any, *args: Any) -> None:
            calls.append((who, name, module._current_fx_name))

        def of_module(self: Any, *args: Any) -> None:
            calls.append((who, name, self._current_fx_name))

        return of_module if who == "module" else of_callback

    written = {who: {n: note(who, n) for n in mends.BATCH_HOOKS} for who in ("module", "by class")}
    by_attribute = Callback()
    for name in mends.BATCH_HOOKS:
        setattr(by_attribute, name, note("by attribute", name).__get__(by_attribute))
    torch.manual_seed(0)
    return (
        type("Module", (IrisMLP,), written["module"])(),
        type("ByClass", (Callback,), written["by class"])(),
        by_attribute,
    )


def test_the_same_hooks_in_the_same_order_with_the_same_weights_at_the_end() -> None:
    found: list[tuple[Calls, list[torch.Tensor]]] = []
    for kind in (Trainer, LadderTrainer):
        calls: Calls = []
        model, *callbacks = recorders(calls)
        fit(kind, model, *callbacks)
        found.append((calls, list(model.parameters())))
    (expected, their_weights), (calls, our_weights) = found
    assert len(calls) == 3 * 3 * len(mends.BATCH_HOOKS)
    assert calls == expected
    for theirs, ours in zip(their_weights, our_weights, strict=True):
        assert torch.equal(theirs, ours)


class CountCalls(Callback):
    """Counts the Python functions called from one batch's start to the next one's."""

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 1:
            self.count = 0
            sys.setprofile(self._count)
        elif batch_idx == 2:
            sys.setprofile(None)

    def _count(self, frame: Any, event: str, argument: Any) -> None:
        self.count += event == "call"


def calls_in_a_batch(kind: type[Trainer], idle_callbacks: int, **kwargs: Any) -> int:
    counter, idle = CountCalls(), type("Idle", (Callback,), {})
    fit(kind, IrisMLP(), counter, *(idle() for _ in range(idle_callbacks)), **kwargs)
    return counter.count


def test_idle_callbacks_cost_a_look_and_nothing_else() -> None:
    theirs = calls_in_a_batch(Trainer, 10) - calls_in_a_batch(Trainer, 0)
    ours = calls_in_a_batch(LadderTrainer, 10) - calls_in_a_batch(LadderTrainer, 0)
    assert ours <= 10 * len(mends.BATCH_HOOKS)
    assert theirs > 5 * ours


@pytest.mark.parametrize("kind", [SimpleProfiler, type("Own", (PassThroughProfiler,), {})])
def test_a_profiler_still_sees_every_hook(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(kind, "start", lambda _, action: seen.append(action))
    monkeypatch.setattr(kind, "stop", lambda _, action: None)
    fit(LadderTrainer, IrisMLP(), CountCalls(), profiler=kind())
    assert "[Callback]CountCalls.on_train_batch_start" in seen
    assert "[LightningModule]IrisMLP.on_before_zero_grad" in seen


class Raises(IrisMLP):
    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        raise ZeroDivisionError


def test_a_hook_that_raises_leaves_nothing_behind() -> None:
    model = Raises()
    with pytest.raises(ZeroDivisionError):
        fit(LadderTrainer, model)
    assert model._current_fx_name is None
    assert lightnings_own()


class Nested(Callback):
    """Runs another trainer within a batch, and counts what its idle callbacks cost."""

    cost = 0

    def __init__(self, kind: type[Trainer], **kwargs: Any) -> None:
        self.kind, self.kwargs = kind, kwargs

    def on_train_batch_end(self, trainer: Any, module: Any, *args: Any) -> None:
        if not self.cost:
            few, many = (calls_in_a_batch(self.kind, idle, **self.kwargs) for idle in (0, 10))
            self.cost = many - few


@pytest.mark.parametrize("profiler", [None, mends.NoProfiler()])
def test_a_plain_trainer_stays_plain_while_ours_runs(profiler: Any) -> None:
    nested = Nested(Trainer, profiler=profiler)
    assert fit(LadderTrainer, IrisMLP(), nested).global_step == 3
    assert nested.cost > 20 * len(mends.BATCH_HOOKS)
    assert lightnings_own()


def test_ours_within_ours_is_cheap_and_both_end_clean() -> None:
    nested = Nested(LadderTrainer)
    assert fit(LadderTrainer, IrisMLP(), nested).global_step == 3
    assert nested.cost <= 10 * len(mends.BATCH_HOOKS)
    assert lightnings_own()


def test_arguments_by_name_reach_the_hook() -> None:
    seen: list[Any] = []

    class Named(Callback):
        def on_train_batch_start(
            self, trainer: Any, module: Any, batch: Any, batch_idx: int
        ) -> None:
            seen.append((batch, batch_idx))

    class Sends(Callback):
        def on_train_start(self, trainer: Any, module: Any) -> None:
            call._call_callback_hooks(trainer, "on_train_batch_start", batch=7, batch_idx=8)

    fit(LadderTrainer, IrisMLP(), Named(), Sends(), max_steps=1)
    assert seen[0] == (7, 8)


# -- resuming -----------------------------------------------------------------------------------


class Scheduled(IrisMLP):
    """Needs the number of steps for its schedule, so Lightning sets up the loader early."""

    def __init__(self) -> None:
        super().__init__(schedule="cosine")
        self.batches: list[int] = []

    def on_train_start(self) -> None:
        pass

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_start(batch, batch_idx)
        self.batches.append(hash(batch[0].numpy().tobytes()))


def test_a_loader_that_was_set_up_early_resumes_where_it_was(tmp_path: Path) -> None:
    class Save(Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, *args: Any) -> None:
            if trainer.global_step == 4:
                trainer.save_checkpoint(tmp_path / "4.ckpt")

    whole, resumed = Scheduled(), Scheduled()
    fit(LadderTrainer, whole, Save(), max_steps=8, max_epochs=1)
    fit(LadderTrainer, resumed, max_steps=8, max_epochs=1, ckpt_path=tmp_path / "4.ckpt")
    assert resumed.batches == whole.batches[4:]


def test_a_run_that_max_steps_ended_goes_on_anywhere(tmp_path: Path) -> None:
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


def test_a_run_resumed_at_an_epochs_end_numbers_its_logs_like_another(tmp_path: Path) -> None:
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

    assert steps("whole", Save()) == list(range(8))
    assert steps("resumed", ckpt_path=tmp_path / "4.ckpt") == [4, 5, 6, 7]


# -- pre-emption --------------------------------------------------------------------------------


def test_the_batch_in_which_a_run_stops_is_logged(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        fit(
            LadderTrainer, IrisMLP(), RunFolder(tmp_path, "iris"), Preemption({"seconds": 0}),
            log_every_n_steps=1,
        )  # fmt: skip
    with (tmp_path / "iris" / "version_0" / "metrics.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file) if row["train/loss"]] == ["0"]


def test_lightning_neither_handles_signals_nor_asks_for_them() -> None:
    registered = []

    class Look(Callback):
        def on_train_start(self, trainer: Any, module: Any) -> None:
            registered.append(bool(trainer._signal_connector._original_handlers))

    without = fit(LadderTrainer, IrisMLP(), Look())
    with_it = fit(LadderTrainer, IrisMLP(), Look(), Preemption())
    assert registered == [True, False]
    stock = _TrainingEpochLoop._broadcast_sigterm_tensor
    assert without.fit_loop.epoch_loop._broadcast_sigterm_tensor.__func__ is stock
    assert with_it.fit_loop.epoch_loop._broadcast_sigterm_tensor is mends._do_nothing


def test_a_plain_trainer_keeps_its_signals() -> None:
    trainer = fit(Trainer, IrisMLP(), Preemption())
    assert "register_signal_handlers" not in vars(trainer._signal_connector)
    assert "_broadcast_sigterm_tensor" not in vars(trainer.fit_loop.epoch_loop)


# -- parsing ------------------------------------------------------------------------------------


class Plain(torch.nn.Module):
    def __init__(self, dropout: float = 0.0, width: int = 1) -> None:
        super().__init__()


class Other(torch.nn.Module):
    def __init__(self, dropout: float = 0.5, width: int = 2) -> None:
        super().__init__()


class Model:
    def __init__(self, network: Callable[[], torch.nn.Module] = Plain) -> None: ...


def parsed() -> dict[str, Any]:
    """Returns what is parsed when a class replaces the default, after one value was chosen."""
    parser = jsonargparse.ArgumentParser()
    parser.add_class_arguments(Model, "model")
    args = ["--model.network.width=7", f"--model.network={__name__}.Other"]
    return parser.parse_args(args).model.network.init_args.as_dict()


def test_a_class_that_replaces_another_starts_from_its_own_defaults() -> None:
    before = parsed()
    with mends.defaults_of_the_new_class():
        assert parsed() == {"dropout": 0.5, "width": 7}
    assert parsed() == before == {"dropout": 0.0, "width": 7}


def test_another_jsonargparse_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonargparse, "__version__", "5.0.0")
    before = parsed()
    with (
        pytest.warns(UserWarning, match="^jsonargparse 5.0.0: .*corrections"),
        mends.defaults_of_the_new_class(),
    ):
        assert parsed() == before


# -- versions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["2.6.5", "2.7.0", "3.0.0rc1"])
def test_another_lightning_is_left_alone_with_one_warning(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lightning, "__version__", version)
    own: list[bool] = []

    class Look(Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, *args: Any) -> None:
            own.append(lightnings_own())

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer = fit(LadderTrainer, IrisMLP(), Look(), Preemption())
    said = [str(w.message) for w in caught if "corrections" in str(w.message)]
    assert len(said) == 1
    assert said[0].startswith(f"lightning {version}: ")
    assert "\n" not in said[0]
    assert own == [True] * 3
    assert type(trainer.profiler) is PassThroughProfiler
    plain = fit(Trainer, IrisMLP())
    for ours, theirs in (
        (trainer.fit_loop, plain.fit_loop),
        (trainer.fit_loop.epoch_loop, plain.fit_loop.epoch_loop),
        (trainer._signal_connector, plain._signal_connector),
    ):
        assert vars(ours).keys() == vars(theirs).keys()


def test_the_installed_versions_are_verified() -> None:
    for package, versions in mends.VERIFIED.items():
        assert versions.contains(package.__version__)

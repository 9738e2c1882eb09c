"""Cheap hooks: the same hooks are called as by Lightning, by this project's Trainer alone."""

import sys
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer
from lightning.pytorch.profilers import PassThroughProfiler, SimpleProfiler
from lightning.pytorch.trainer import call

from models import IrisMLP
from runtime import lightning_hooks
from runtime.trainer import LadderTrainer
from tests.runtime.fitting import fit, lightnings_own

Calls = list[tuple[str, str, str]]  # owner, hook, the hook that `self.log` thinks it is in


def recorders(calls: Calls) -> tuple[IrisMLP, Callback, Callback]:
    """Hooks of a module, of a class of callbacks and of one callback object, all recorded."""

    def note(who: str, name: str) -> Any:
        def of_callback(self: Any, trainer: Any, module: Any, *args: Any) -> None:
            calls.append((who, name, module._current_fx_name))

        def of_module(self: Any, *args: Any) -> None:
            calls.append((who, name, self._current_fx_name))

        return of_module if who == "module" else of_callback

    written = {
        who: {n: note(who, n) for n in lightning_hooks.BATCH_HOOKS}
        for who in ("module", "by class")
    }
    by_attribute = Callback()
    for name in lightning_hooks.BATCH_HOOKS:
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
    assert len(calls) == 3 * 3 * len(lightning_hooks.BATCH_HOOKS)
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


def test_idle_callbacks_cost_nothing() -> None:
    theirs = calls_in_a_batch(Trainer, 10) - calls_in_a_batch(Trainer, 0)
    ours = calls_in_a_batch(LadderTrainer, 10) - calls_in_a_batch(LadderTrainer, 0)
    assert ours == 0
    assert theirs > 50 * len(lightning_hooks.BATCH_HOOKS)


def test_a_hook_written_while_the_run_goes_on_is_called_from_the_next_epoch_on() -> None:
    calls: list[int] = []

    class Late(Callback):
        def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
            if trainer.global_step == 1:
                vars(self)["on_train_batch_start"] = lambda trainer, *args: calls.append(
                    trainer.current_epoch
                )

    fit(LadderTrainer, IrisMLP(), Late(), max_steps=-1, max_epochs=2, limit_train_batches=2)
    assert calls == [1, 1]


@pytest.mark.parametrize("kind", [Trainer, LadderTrainer])
def test_a_training_step_without_batch_idx_trains(kind: type[Trainer]) -> None:
    class Plain(IrisMLP):
        def training_step(self, batch: Any) -> Any:  # type: ignore[override]
            return super().training_step(batch, 0)

    assert fit(kind, Plain()).global_step == 3


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

    cost: int | None = None

    def __init__(self, kind: type[Trainer], **kwargs: Any) -> None:
        self.kind, self.kwargs = kind, kwargs

    def on_train_batch_end(self, trainer: Any, module: Any, *args: Any) -> None:
        if self.cost is None:
            few, many = (calls_in_a_batch(self.kind, idle, **self.kwargs) for idle in (0, 10))
            self.cost = many - few


@pytest.mark.parametrize("profiler", [None, lightning_hooks.NoProfiler()])
def test_a_plain_trainer_stays_plain_while_ours_runs(profiler: Any) -> None:
    nested = Nested(Trainer, profiler=profiler)
    assert fit(LadderTrainer, IrisMLP(), nested).global_step == 3
    assert nested.cost is not None
    assert nested.cost > 20 * len(lightning_hooks.BATCH_HOOKS)
    assert lightnings_own()


def test_ours_within_ours_is_cheap_and_both_end_clean() -> None:
    nested = Nested(LadderTrainer)
    assert fit(LadderTrainer, IrisMLP(), nested).global_step == 3
    assert nested.cost == 0
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

"""Hooks are Lightning's own, without their price where nobody wrote one."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer
from lightning.pytorch.loops import training_epoch_loop
from lightning.pytorch.trainer import call

from datamodules import Iris
from models import IrisMLP
from runtime import hooks
from runtime.trainer import LadderTrainer

Calls = list[tuple[str, str, str]]  # of whom, which hook, the one that `self.log` thinks it is in


@pytest.fixture(autouse=True)
def lightnings_own() -> Iterator[None]:
    """Lightning as it came, before and after."""
    inspects = training_epoch_loop.is_param_in_hook_signature
    for name, function in hooks.LIGHTNINGS_OWN.items():
        setattr(call, name, function)
    yield
    for name, function in hooks.LIGHTNINGS_OWN.items():
        setattr(call, name, function)
    training_epoch_loop.is_param_in_hook_signature = inspects


def fit(kind: type[Trainer], model: IrisMLP, *callbacks: Callback, **kwargs: Any) -> Trainer:
    trainer = kind(
        max_steps=3,
        limit_val_batches=0,
        accelerator="cpu",
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **({"precision": "32-true"} | kwargs),
    )
    trainer.fit(model, datamodule=Iris(batch_size=1))
    return trainer


def recorders(calls: Calls) -> tuple[IrisMLP, Callback, Callback]:
    """A module, a callback of its class and one of its own attributes, which note every hook."""

    def note(who: str, name: str) -> Any:
        def of_callback(self: Any, trainer: Any, module: Any, *args: Any) -> None:
            calls.append((who, name, module._current_fx_name))

        def of_module(self: Any, *args: Any) -> None:
            calls.append((who, name, self._current_fx_name))

        return of_module if who == "module" else of_callback

    written = {who: {n: note(who, n) for n in hooks.EMPTY} for who in ("module", "by class")}
    by_attribute = Callback()
    for name in hooks.EMPTY:
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
    assert len(calls) == 3 * 3 * len(hooks.EMPTY)
    assert calls == expected
    for theirs, ours in zip(their_weights, our_weights, strict=True):
        assert torch.equal(theirs, ours)


class CountCalls(Callback):
    """The Python functions called from one batch's start to the next one's."""

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 1:
            self.count = 0
            sys.setprofile(self._count)
        elif batch_idx == 2:
            sys.setprofile(None)

    def _count(self, frame: Any, event: str, argument: Any) -> None:
        self.count += event == "call"


def calls_in_a_batch(kind: type[Trainer], idle_callbacks: int) -> int:
    counter = CountCalls()
    fit(kind, IrisMLP(), counter, *(type("Idle", (Callback,), {})() for _ in range(idle_callbacks)))
    return counter.count


def test_idle_callbacks_cost_a_look_and_nothing_else() -> None:
    theirs = calls_in_a_batch(Trainer, 10) - calls_in_a_batch(Trainer, 0)
    ours = calls_in_a_batch(LadderTrainer, 10) - calls_in_a_batch(LadderTrainer, 0)
    assert ours <= 10 * len(hooks.EMPTY)
    assert theirs > 5 * ours


def test_training_step_is_inspected_once() -> None:
    hooks.inspect_once.cache_clear()
    fit(LadderTrainer, IrisMLP())
    fit(LadderTrainer, IrisMLP())
    assert hooks.inspect_once.cache_info()[:2] == (5, 1)  # hits, misses in 2 x 3 batches


def test_a_profiler_still_sees_every_hook() -> None:
    trainer = fit(LadderTrainer, IrisMLP(), CountCalls(), profiler="simple")
    report = trainer.profiler.summary()
    assert "[Callback]CountCalls.on_train_batch_start" in report
    assert "[LightningModule]IrisMLP.on_before_zero_grad" in report

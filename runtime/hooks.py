"""Lightning's hooks of a training batch, called only where somebody wrote one.

For every hook of every callback Lightning 2.6 formats a name, enters a profiler that measures
nothing and sets an attribute through `nn.Module`. With this project's callbacks that is 0.3 ms a
batch, more than a small network needs to learn from one. It also inspects `training_step` anew.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loops import training_epoch_loop
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.trainer import call

EMPTY = {  # in Lightning's own modules and callbacks
    "on_train_batch_start",
    "on_train_batch_end",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
}
LIGHTNINGS_OWN = {
    name: getattr(call, name)
    for name in ("_call_callback_hooks", "_call_lightning_module_hook", "_call_strategy_hook")
}
NOTHING = nullcontext()
inspect_once = cache(training_epoch_loop.is_param_in_hook_signature)


class NoProfiler(PassThroughProfiler):
    """Measures nothing, at no cost."""

    def profile(self, action_name: str) -> AbstractContextManager[None]:  # type: ignore[override]
        return NOTHING


def call_only_what_is_written(trainer: Trainer) -> None:
    """Makes hooks cheap for a trainer that was given no profiler; what they do stays the same."""
    if type(_profiler(trainer)) is PassThroughProfiler:
        vars(trainer)["profiler"] = NoProfiler()
    for name in LIGHTNINGS_OWN:
        setattr(call, name, globals()[name])  # Lightning's loops look them up at each call
    vars(training_epoch_loop)["is_param_in_hook_signature"] = _is_param_in_hook_signature


def _profiler(trainer: Trainer) -> Any:
    return trainer.profiler  # type: ignore[attr-defined]  # set by a connector


def _call_callback_hooks(trainer: Trainer, hook_name: str, *args: Any, **kwargs: Any) -> None:
    if hook_name not in EMPTY or type(_profiler(trainer)) is not NoProfiler:
        LIGHTNINGS_OWN["_call_callback_hooks"](trainer, hook_name, *args, **kwargs)
        return
    module = trainer.lightning_module
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # set by a connector
        if _is_written(callback, hook_name, Callback):
            _call(module, hook_name, getattr(callback, hook_name), trainer, module, *args)


def _call_lightning_module_hook(
    trainer: Trainer,
    hook_name: str,
    *args: Any,
    pl_module: LightningModule | None = None,
    **kwargs: Any,
) -> Any:
    module = pl_module or trainer.lightning_module
    if type(_profiler(trainer)) is not NoProfiler or module is None:
        own = LIGHTNINGS_OWN["_call_lightning_module_hook"]
        return own(trainer, hook_name, *args, pl_module=pl_module, **kwargs)
    if hook_name in EMPTY and not _is_written(module, hook_name, LightningModule):
        return None
    return _call(module, hook_name, getattr(module, hook_name), *args, **kwargs)


def _call_strategy_hook(trainer: Trainer, hook_name: str, *args: Any, **kwargs: Any) -> Any:
    if type(_profiler(trainer)) is not NoProfiler:
        return LIGHTNINGS_OWN["_call_strategy_hook"](trainer, hook_name, *args, **kwargs)
    module = trainer.lightning_module
    return _call(module, hook_name, getattr(trainer.strategy, hook_name), *args, **kwargs)


def _is_written(owner: Any, hook_name: str, base: type) -> bool:
    return getattr(type(owner), hook_name) is not getattr(base, hook_name) or (
        hook_name in vars(owner)
    )


def _call(module: LightningModule, hook_name: str, hook: Any, *args: Any, **kwargs: Any) -> Any:
    """Calls a hook; meanwhile `self.log` knows, by the module's attribute, which one it is in."""
    attributes = vars(module)
    outer = attributes["_current_fx_name"]
    attributes["_current_fx_name"] = hook_name
    result = hook(*args, **kwargs)
    attributes["_current_fx_name"] = outer
    return result


def _is_param_in_hook_signature(hook: Callable[..., Any], *args: Any, **kwargs: Any) -> bool:
    return inspect_once(getattr(hook, "__func__", hook), *args, **kwargs)  # keeps no module alive

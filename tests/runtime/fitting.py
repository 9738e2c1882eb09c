"""A short run of any Trainer on iris, for tests that compare Lightning's Trainer with ours."""

from typing import Any

from lightning import Callback, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loops import training_epoch_loop
from lightning.pytorch.trainer import call
from runtime.lightning_hooks import HOOK_CALLS, SIGNATURE_CHECK

from datamodules import Iris


def functions() -> list[Any]:
    """Returns the functions that cheap hooks replace."""
    return [*(getattr(call, name) for name in HOOK_CALLS),
            getattr(training_epoch_loop, SIGNATURE_CHECK)]  # fmt: skip


LIGHTNINGS_OWN = functions()


def lightnings_own() -> bool:
    """Returns whether Lightning calls hooks with its own functions."""
    return functions() == LIGHTNINGS_OWN


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
